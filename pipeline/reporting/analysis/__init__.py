"""The analysis of a report, as tables: scores, comparisons, differences, provenance."""
