"""LaTeX that drops into a paper: tables that fit its columns, and documents that show them."""
