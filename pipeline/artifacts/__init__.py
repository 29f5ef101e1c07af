"""Artifacts on disk: written atomically, checksummed, locked, described by a manifest."""
