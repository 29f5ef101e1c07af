"""Measuring a checkpoint: held-out losses, generated responses, lm-evaluation-harness tasks."""
