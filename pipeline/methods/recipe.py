"""A method with its hyperparameters decided: what a row of the tables comes to.

Read without importing torch, as the catalogue is.
"""

from dataclasses import dataclass, field, replace

from pipeline.methods import components
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import READING, Method


@dataclass(frozen=True)
class Recipe:
    """A method with its hyperparameters decided."""

    method: Method
    loss: dict[str, object] = field(default_factory=dict)
    policy: dict[str, object] = field(default_factory=dict)
    update: dict[str, object] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, object]:
        """What a training job knows of it, as `pipeline.settings.distill.MethodSettings` has it."""
        method = self.method
        return {
            "loss": method.loss,
            "loss_settings": self.loss,
            "policy": method.policy,
            "policy_settings": self.policy,
            "teacher": method.teacher,
            "update": method.update,
            "update_settings": self.update,
            "gold_weight": method.gold_weight,
            "plain_text_weight": method.plain_text_weight,
        }


def adjustable(method: Method) -> dict[str, components.Hyperparameter]:
    """Every hyperparameter of a method that a configuration may set."""
    found = dict(components.hyperparameters("losses", method.loss))
    found |= components.hyperparameters("data_policies", method.policy)
    if method.update:
        found |= components.hyperparameters("teacher_updates", method.update)
    return found


def decide(name: str, overrides: dict[str, object]) -> Recipe:
    """The recipe of a method under overrides of its hyperparameters.

    Raises: ValueError for an unknown method or hyperparameter, or a value out of range.
    """
    if name not in METHODS:
        raise ValueError(f"{name!r} is no method; there are {', '.join(sorted(METHODS))}")
    method = METHODS[name]
    known = adjustable(method)
    for key, value in overrides.items():
        if key not in known:
            allowed = ", ".join(sorted(known)) or "none"
            raise ValueError(f"{key}: {name} has no such hyperparameter; it has: {allowed}")
        try:
            known[key].check(value)
        except ValueError as error:
            raise ValueError(f"{key} = {value!r}: {error}") from None

    chosen = dict(method.defaults) | overrides
    return Recipe(
        method=method,
        loss=_filled("losses", method.loss, chosen),
        policy=_filled("data_policies", method.policy, chosen),
        update=_filled("teacher_updates", method.update, chosen) if method.update else {},
    )


def adjusted(method: Method, changes: dict[str, object]) -> Method:
    """A method with what a configuration changes beside hyperparameters.

    Raises: ValueError for a pair that cannot be: stored signals for text that is yet to be written.
    """
    changed = replace(method, **{key: one for key, one in changes.items() if one is not None})
    if changed.teacher == "cache" and (changed.policy != READING or changed.update):
        raise ValueError("teacher = 'cache': its text is written in training; allowed: 'live'")
    if changed.teacher != method.teacher and method.teacher in ("none", "text"):
        raise ValueError(f"teacher = {changed.teacher!r}: its loss asks no teacher")
    if changed.draws and not (method.draws and changed.teacher == "cache"):
        raise ValueError(
            f"draws = {changed.draws}: only for methods that are right on average over draws, "
            "and from a cache"
        )
    if changed.relabelling_stages and changed.teacher != "text":
        raise ValueError(
            f"relabelling_stages = {changed.relabelling_stages}: only for methods that know no "
            "more of the teacher than its text"
        )
    return changed


def _filled(kind: components.Kind, name: str, chosen: dict[str, object]) -> dict[str, object]:
    """All fields with their values: a changed default is a changed setting."""
    known = components.hyperparameters(kind, name)
    return {key: one.check(chosen.get(key, one.default)) for key, one in known.items()}
