"""Prints docs/methods.md: every method as the code has it."""

import ast

from pipeline.methods import components
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import Method, resolve

CLASSES = {"losses": "Loss", "data_policies": "Policy", "teacher_updates": "Update"}
NEEDS = {
    "none": "no teacher",
    "text": "the teacher's text",
    "cache": "cached signals",
    "live": "a live teacher",
}
EVIDENCE = {
    "code": "the authors' code was read",
    "full": "the full paper was read",
    "abstract": "known from its abstract only; details ours",
}
HEAD = """\
# Methods

Generated from the code by `make docs`; do not edit. A method is a loss, a data policy and what it
needs of the teacher. p is the teacher, q the student; losses are in nats, a mean over the response
tokens of an optimizer step. Every hyperparameter can be set in the configuration.
"""


def first_paragraph(kind: components.Kind, name: str) -> str:
    """What a loss, policy or teacher update says of itself: its formula, in a sentence."""
    tree = ast.parse((components.PIPELINE / kind / f"{name}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == CLASSES[kind]:
            return (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    raise ValueError(f"{kind}/{name}.py defines no class {CLASSES[kind]}")


def cost_class(method: Method) -> str:
    """What a step costs beside the student's own forward and backward pass."""
    extra = []
    if method.teacher == "live":
        extra.append("a teacher forward pass")
    if method.generates_text:
        extra.append("text written in training")
    if method.update:
        extra.append("a teacher update")
    if method.plain_text_weight:
        extra.append("a batch of plain text")
    if method.relabelling_stages:
        extra.append(f"{2 * method.relabelling_stages} further students")
    return ", ".join(extra) or "nothing"


def section(name: str, method: Method) -> str:
    """A method's entry."""
    values = resolve(method, {}).hyperparameters
    shown = ", ".join(f"`{key}` = {value}" for key, value in values.items()) or "none"
    parts = [("loss", "losses", method.loss), ("texts", "data_policies", method.policy)]
    if method.update:
        parts.append(("teacher", "teacher_updates", method.update))
    lines = [
        f"## {name}: {method.title}",
        "",
        *(
            f"- {role}: [`{file}`](../pipeline/{kind}/{file}.py): {first_paragraph(kind, file)}"
            for role, kind, file in parts
        ),
        f"- needs: {NEEDS[method.teacher]}",
        f"- a step costs, beside the student's: {cost_class(method)}",
        f"- hyperparameters: {shown}",
        f"- source: {method.source} ({EVIDENCE[method.evidence]})",
    ]
    if method.departures:
        lines.append(f"- departures: {method.departures}")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    return HEAD + "\n" + "\n\n".join(section(name, METHODS[name]) for name in METHODS) + "\n"


def main() -> None:
    """Prints the page."""
    print(page(), end="")


if __name__ == "__main__":
    main()
