"""From evaluated items to tables, plots and one page."""
