"""The scores of one checkpoint on all its tasks: held-out measures, and what lm-eval runs."""
