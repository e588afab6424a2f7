"""Alembic's migrations of the database, one revision a file."""
