"""Training a student: the loop, its batches, chunked losses, checkpoints."""
