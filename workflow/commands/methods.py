"""Lists the methods, describes one, and writes docs/methods.md: every method as the code has it."""

import json
import sys
from pathlib import Path

from pipeline.methods import components
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import EVIDENCE, Method, resolve
from workflow.commands.console import show_table
from workflow.config.wording import did_you_mean

NEEDS = {
    "none": "no teacher",
    "text": "the teacher's text",
    "cache": "cached teacher distributions",
    "live": "a live teacher",
    "self": "no teacher: a copy of the student, whose prompts show more, takes its place",
}
ROLES = {
    "losses": "loss",
    "data_policies": "texts",
    "teacher_updates": "teacher",
    "feature_losses": "hidden states",
}
HEAD = """\
# Methods

Generated from the code by `make docs`; do not edit. A method is a loss, a data policy and what it
needs of the teacher. p is the teacher, q the student; losses are in nats, a mean over the response
tokens of an optimizer step. Every hyperparameter can be set in the configuration.
"""


def step_cost(method: Method) -> str:
    """What a step costs beside the student's own forward and backward pass."""
    extra = {
        "a teacher forward pass": method.teacher in ("live", "self"),
        "a reference forward pass": components.needs_reference(method.loss),
        "text generated in training": method.generates_text,
        "a teacher update": method.update is not None and method.teacher == "live",
        "a batch of plain text": method.plain_text_weight > 0,
        f"{2 * method.relabelling_stages} further students": method.relabelling_stages > 0,
    }
    return ", ".join(cost for cost, applies in extra.items() if applies) or "nothing"


def section(name: str, method: Method, root: str = "..") -> str:
    """A method's entry in Markdown, with links from a folder below `root`."""
    values = resolve(method, {}).hyperparameters
    defaults = ", ".join(f"`{key}` = {_shown(value)}" for key, value in values.items()) or "none"
    lines = [
        f"## {name}: {method.title}",
        "",
        *(
            f"- {ROLES[kind]}: [`{file}`]({root}/{components.file_of(kind, file)}): "
            f"{components.formula(kind, file)}"
            for kind, file in method.components
        ),
        f"- needs: {NEEDS[method.teacher]}",
        f"- a step costs, beside the student's: {step_cost(method)}",
        f"- hyperparameters: {defaults}",
        f"- source: {method.source} ({EVIDENCE[method.evidence]})",
    ]
    if method.departures:
        lines.append(f"- departures: {method.departures}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    """A value on one line: a text of several is as JSON has it."""
    is_long = isinstance(value, str) and "\n" in value
    return f"`{json.dumps(value, ensure_ascii=False)}`" if is_long else f"{value}"


def page() -> str:
    """The whole of docs/methods.md."""
    return HEAD + "\n" + "\n\n".join(section(name, METHODS[name]) for name in METHODS) + "\n"


def main(*, name: str | None, docs: Path | None) -> int:
    """Prints the list of methods or one method's entry, or writes the page."""
    if docs:
        docs.write_text(page(), encoding="utf-8")
    elif name is None:
        headings = ("method", "title", "loss", "texts", "teacher")
        show_table(headings, [_row(*item) for item in METHODS.items()])
    elif name in METHODS:
        print(section(name, METHODS[name], root=".").removeprefix("## "))
    else:
        meant = did_you_mean(name, METHODS)
        sys.exit(f"unknown method {name!r}; {meant}available: {', '.join(METHODS)}")
    return 0


def _row(name: str, method: Method) -> tuple[str, ...]:
    texts = "teacher's" if method.text == "teacher" else method.policy
    return name, method.title, method.loss, texts, method.teacher
