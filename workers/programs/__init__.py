"""Runs the operator's own programs: a keeper process starts each, watches it and ends all of its descendants."""
