"""What was measured, as tables: scores, comparisons, differences, provenance."""
