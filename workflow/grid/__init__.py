"""The grid of an experiment: its artifacts and how they depend on each other."""
