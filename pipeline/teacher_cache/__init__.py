"""The teacher cache: its file format, capture and writing, and reading it back in training."""
