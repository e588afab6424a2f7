"""Run tables: reading them, and what they pool within one cell."""
