"""Figures within the page itself, so that it needs no other file."""

import re
from urllib.parse import quote

from markupsafe import Markup

PLAIN = " =:/;,'()!*@+$[]{}|^`?~"  # signs that a data address and an attribute hold unquoted


def image_address(svg: bytes) -> Markup:
    """An SVG as the address of an image; empty without one."""
    if not svg:
        return Markup()
    text = re.sub(r"\s*\n\s*", " ", svg.decode())
    return Markup("data:image/svg+xml," + quote(text, safe=PLAIN))
