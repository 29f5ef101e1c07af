"""Resources and reporting of a job: time, energy, FLOPs, progress, processes, random seeds."""
