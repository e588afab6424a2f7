"""What the figures show, as plain values: pure functions of a snapshot of a sweep."""
