"""Evaluation tasks: a file for each, and the code that prepares their items."""
