"""Checking a configuration before any job starts."""
