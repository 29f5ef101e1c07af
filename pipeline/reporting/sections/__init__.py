"""The sections of the report, each with its tables and plots."""
