"""Inference from few training seeds and many items; docs/statistics.md says why it is as it is."""
