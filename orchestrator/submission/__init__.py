"""The meaning and the cost of a specification before it runs: its cells, its preview, its rehearsal, the cluster's capacity."""
