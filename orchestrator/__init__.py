"""Decides and records: the law, the planner, the states, the store and the loop that ties them."""
