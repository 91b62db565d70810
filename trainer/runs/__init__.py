"""A run's life on this machine: its folder, its processes, what it is now, and the runner that starts it. No torch."""
