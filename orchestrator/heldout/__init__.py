"""Both paradigms at a held-out scale: Fitting and Transfer, what stands beside them, and which of them to trust."""
