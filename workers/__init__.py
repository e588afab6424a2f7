"""Carries runs out on Ray Tune, one runner per kind of trainer."""
