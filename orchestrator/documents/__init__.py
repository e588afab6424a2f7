"""Documents: the typed JSON that the store keeps, the core fills, the API serves and the command line reads."""
