"""What is done with finished reports: they are compared, joined, and put onto the hub."""
