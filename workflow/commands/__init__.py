"""The commands a user types: plan, status, prune, publish."""
