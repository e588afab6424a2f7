"""What a specification means and costs before it runs: its cells, its preview, its rehearsal, the cluster's capacity."""
