"""Texts from elsewhere, without the signs that a terminal or a browser obeys instead of shows."""

import re

# controls of both sets but tab and newline (ESC and CSI begin orders to a terminal; HTML has no
# NUL), and the two signs that turn the letters after them round
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e]")


def inert(text: str) -> str:
    """The text with a replacement character for each sign that is obeyed."""
    return OBEYED.sub("\ufffd", text)


def inert_line(text: str) -> str:
    """The same on one line."""
    return inert(" ".join(text.split()))
