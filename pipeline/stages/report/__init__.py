"""Scores, tables, plots and one page of everything that an experiment has evaluated."""
