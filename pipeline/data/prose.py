"""Plain prose in docstrings: paragraphs that say something, without tables, code and markup."""

import re
from collections.abc import Iterator

SHORTEST, LONGEST = 80, 600  # characters of a paragraph

# A section's title: "Notes" over a rule in the style of NumPy, or "Args:" in Google's.
RULED_TITLE = re.compile(r"(?P<title>[A-Z][\w ]*)\n[-=~^]{3,}[ ]*(\n|$)")
COLON_TITLE = re.compile(r"(?P<title>[A-Z]\w*( \w+)?):[ ]*(\n|$)")
PROSE_SECTIONS = {"notes", "note", "explanation", "description", "extended summary", "details"}

# What prose in a docstring doesn't hold: code, tables, field lists, links, templates, formulas.
MARKUP = re.compile(r">>>|::|\.\. |\||-{3}|={3}|https?:|%\(|[{}\\]|(^|\s):\w+ ?\w*:(\s|$)|\n[ ]")


def paragraphs(text: str) -> Iterator[str]:
    """The parts of `text` between blank lines, with their own line breaks and indents."""
    for part in re.split(r"\n[ \t]*\n", text):
        if part.strip():
            yield part.strip("\n")


def prose(doc: str) -> Iterator[str]:
    """Each paragraph of prose in a cleaned docstring, but for the first, on one line."""
    in_prose = True
    for place, part in enumerate(paragraphs(doc)):
        paragraph = part
        if titled := RULED_TITLE.match(part) or COLON_TITLE.match(part):
            in_prose = titled["title"].lower() in PROSE_SECTIONS
            paragraph = part[titled.end() :]
        if place and in_prose and _is_prose(paragraph):
            yield " ".join(paragraph.split())


def _is_prose(paragraph: str) -> bool:
    text = " ".join(paragraph.split())
    return (
        SHORTEST <= len(text) <= LONGEST
        and text.isascii()
        and text[0].isupper()
        and text[-1] in ".!?"
        and not paragraph.startswith(" ")
        and not MARKUP.search(paragraph)
    )
