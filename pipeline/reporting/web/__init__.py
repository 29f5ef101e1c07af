"""The page: templates, style and scripts."""
