"""The loop over live sweeps: its decisions, its leader, and the drivers that it starts."""
