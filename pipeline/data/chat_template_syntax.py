"""Chat templates as text: their syntax, without a tokenizer or a conversation."""

import re

from jinja2 import Environment, TemplateSyntaxError

GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")  # what a model writes stands behind it
TAG = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")  # of transformers alone


def syntax_fault(template: str) -> str | None:
    """Why a text is no template; None for one that is."""
    plain = TAG.sub(lambda tag: f"{tag[1]}{'endif' if tag[2] else 'if true'}{tag[3]}", template)
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).compile(plain)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    return None
