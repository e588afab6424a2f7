"""A stand-in for the workers."""
