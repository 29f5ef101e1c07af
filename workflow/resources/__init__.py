"""What a job needs: memory, time, GPUs."""
