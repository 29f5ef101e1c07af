"""Cost beside quality: attribution of shared costs, equal budgets, crossovers."""
