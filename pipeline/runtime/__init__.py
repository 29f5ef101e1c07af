"""What a job uses and reports: time, energy, FLOPs, progress, processes, random seeds."""
