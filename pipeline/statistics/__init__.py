"""Inference from few training seeds and many items; docs/statistics.md explains the choices."""
