"""What happens next: the loop over live sweeps, its leader, its decisions, and the drivers it starts."""
