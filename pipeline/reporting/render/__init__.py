"""How numbers, tables and plots look."""
