"""The HTML report: the page, one page per cell, method and sample."""
