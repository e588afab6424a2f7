"""HTTP in; JSON, events and pages out."""
