"""A method of distillation, and its settings once a configuration has had its say.

Read without importing torch, as the catalogue is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.methods import components
from pipeline.methods.components import Hyperparameter, Kind

# what was read of a method's source
EVIDENCE = {
    "code": "the authors' code was read",
    "full": "the full paper was read",
    "abstract": "known from its abstract only; details ours",
    "own": "no publication, or put together of parts",
}

# the field of a method, and the key of a configuration, that names each kind of part
FIELDS: dict[Kind, str] = {
    "losses": "loss",
    "data_policies": "policy",
    "teacher_updates": "update",
    "feature_losses": "features",
}


@dataclass(frozen=True)
class Method:
    """A loss on texts that a policy provides, and what it needs of the teacher."""

    title: str
    loss: str  # file in pipeline/losses
    source: str  # authors, year, arXiv id
    evidence: Literal["code", "full", "abstract", "own"]  # see EVIDENCE
    policy: str = "fixed"  # file in pipeline/data_policies
    teacher: Literal["none", "text", "cache", "live", "self"] = "cache"
    text: Literal["gold", "teacher"] = "gold"  # whose responses the fixed texts have
    update: str | None = None  # file in pipeline/teacher_updates, where the teacher learns too
    features: str | None = None  # file in pipeline/feature_losses, whose term is added to the loss
    gold_weight: float = 0.0  # share of cross entropy in the loss, on text the student didn't write
    plain_text_weight: float = 0.0  # of a language-modelling term on plain text, added
    plain_text_kl: float = 0.0  # share of forward KL to the teacher in that term
    draws: int | None = None  # tokens drawn from the teacher at each place; null: its top K
    redrawn: bool = False  # drawn again in each step from the experiment's cache, not once for all
    relabelling_stages: int = 0  # rounds of paired students that label each other's half
    defaults: dict[str, object] = field(default_factory=dict)  # where they differ from the fields
    departures: str = ""  # from the source, in a sentence each

    @property
    def generates_text(self) -> bool:
        """Whether text is generated during training."""
        return components.generates_text(self.policy)

    @property
    def cached_draws(self) -> int | None:
        """The draws that a cache of the method's own holds."""
        return None if self.redrawn else self.draws

    @property
    def whole_vocabulary(self) -> bool:
        """Whether the loss refuses the teacher's top K, or reads hidden states, which it lacks."""
        return components.on_sparse_support(self.loss) == "refused" or self.features is not None

    @property
    def over_spans(self) -> bool:
        """Whether the loss compares spans, so that the teacher may have another vocabulary."""
        return components.has("losses", self.loss, "over_spans")

    @property
    def reads_distributions(self) -> bool:
        """Whether it reads those of the experiment's teacher."""
        return self.teacher in ("cache", "live")

    @property
    def compares_distributions(self) -> bool:
        """Whether the student learns from a teacher's distributions or its hidden states."""
        return self._loss_reads_teacher or self.features is not None

    @property
    def _loss_reads_teacher(self) -> bool:
        return bool(components.class_constant("losses", self.loss, "reads_teacher", True))

    @property
    def names_teacher(self) -> bool:
        """Whether anything of the experiment's teacher enters: its distributions or its text."""
        return self.reads_distributions or self.text == "teacher"

    @property
    def vocabulary_fault(self) -> str | None:
        """Why the teacher must share the student's vocabulary; None where it needn't."""
        if not self.reads_distributions:
            return None
        if components.has("data_policies", self.policy, "teacher_writes"):
            return f"policy {self.policy} has it write tokens into the student's text"
        if not self.over_spans and self._loss_reads_teacher:
            return f"loss {self.loss} compares distributions over the same tokens"
        if components.selects_texts(self.policy):
            return f"policy {self.policy} compares likelihoods of the same tokens"
        if self.update:
            return f"update {self.update} trains it on the student's tokens"
        if self.plain_text_kl:
            return "plain_text_kl compares distributions over the same tokens"
        if self.teacher == "cache" and (self.text == "teacher" or self.draws):
            return "its cache is read on gold text, at its top K; give the row `teacher: live`"
        return None

    @property
    def components(self) -> list[tuple[Kind, str]]:
        """The files that it is built of: loss, data policy and, if any, the other kinds."""
        files: list[tuple[Kind, str]] = [("losses", self.loss), ("data_policies", self.policy)]
        if self.update:
            files.append(("teacher_updates", self.update))
        if self.features:
            files.append(("feature_losses", self.features))
        return files


@dataclass(frozen=True)
class ResolvedMethod:
    """A method with a value for each of its hyperparameters."""

    method: Method
    # in the order of FIELDS
    loss_settings: dict[str, object]
    policy_settings: dict[str, object]
    update_settings: dict[str, object]
    feature_settings: dict[str, object]

    @property
    def settings(self) -> dict[str, object]:
        """Settings of a training job, as `pipeline.settings.distill.MethodSettings` has them."""
        method = self.method
        # keys that came later: left out where they do nothing, so that ids stay
        later: dict[str, object] = (
            {"plain_text_kl": method.plain_text_kl} if method.plain_text_kl else {}
        )
        if method.redrawn:
            later["draws"] = method.draws
        if method.features:
            later |= {"features": method.features, "feature_settings": self.feature_settings}
        return later | {
            "loss": method.loss,
            "loss_settings": self.loss_settings,
            "policy": method.policy,
            "policy_settings": self._policy_settings_of_job,
            "teacher": method.teacher,
            "update": method.update,
            "update_settings": self.update_settings,
            "gold_weight": method.gold_weight,
            "plain_text_weight": method.plain_text_weight,
        }

    @property
    def _policy_settings_of_job(self) -> dict[str, object]:
        known = components.hyperparameters("data_policies", self.method.policy)
        later = components.later_keys(self.method.policy)
        return {
            key: value
            for key, value in self.policy_settings.items()
            if key not in later or value != known[key].default
        }

    @property
    def hyperparameters(self) -> dict[str, object]:
        """All hyperparameters with their values."""
        return (
            self.loss_settings | self.policy_settings | self.update_settings | self.feature_settings
        )


def hyperparameters_of(method: Method) -> dict[str, Hyperparameter]:
    """Every hyperparameter of a method that a configuration may set."""
    return {
        name: hyperparameter
        for kind, file in method.components
        for name, hyperparameter in components.hyperparameters(kind, file).items()
    }


def resolve(
    method: Method,
    overrides: Mapping[str, object],
    of_parts: Mapping[Kind, Mapping[str, object]] | None = None,
) -> ResolvedMethod:
    """The method under overrides of its hyperparameters, those of one part in `of_parts`.

    Raises: ValueError for a hyperparameter that is unknown, out of range, or of two parts at once.
    """
    _check(overrides, hyperparameters_of(method))
    _check_owners(method, overrides)
    settings: dict[Kind, dict[str, object]] = {kind: {} for kind in FIELDS}
    for kind, file in method.components:
        known = components.hyperparameters(kind, file)
        of_part = (of_parts or {}).get(kind, {})
        _check(of_part, known, f"{FIELDS[kind]}.")
        values = {**method.defaults, **overrides, **of_part}
        # all fields with their values: a changed default is a changed setting
        settings[kind] = {
            key: field.check(values.get(key, field.default)) for key, field in known.items()
        }
    return ResolvedMethod(method, *settings.values())


def _check_owners(method: Method, keys: Iterable[str]) -> None:
    """Raises ValueError for a hyperparameter of two parts, which mean two things by its name."""
    for key in keys:
        owners = [
            f"`{FIELDS[kind]}: {{name: {file}, {key}: ..}}`"
            for kind, file in method.components
            if key in components.hyperparameters(kind, file)
        ]
        if len(owners) > 1:
            raise ValueError(f"{key}: two parts have it; allowed: {' or '.join(owners)}")


def _check(
    values: Mapping[str, object], known: Mapping[str, Hyperparameter], block: str = ""
) -> None:
    for key, value in values.items():
        if key not in known:
            available = ", ".join(sorted(known)) or "none"
            raise ValueError(f"{block}{key}: unknown hyperparameter; available: {available}")
        try:
            known[key].check(value)
        except ValueError as error:
            raise ValueError(f"{block}{key} = {value!r}: {error}") from None


def apply_overrides(method: Method, overrides: Mapping[str, object]) -> Method:
    """A method with the fields replaced that a configuration sets; None leaves a field as it is.

    Raises: ValueError for a pair that cannot be, such as cached signals for generated text.
    """
    changes = {key: value for key, value in overrides.items() if value is not None}
    changed = replace(method, **changes)
    if method.teacher in ("none", "text") and changed.teacher == method.teacher:
        # whose texts it learns from is all that it needs of a teacher
        changed = replace(changed, teacher="text" if changed.text == "teacher" else "none")
    if method.teacher == "self" != changed.teacher:
        raise ValueError(f"teacher = {changed.teacher!r}: the student teaches itself; leave it out")
    if changed.teacher == "cache" and (changed.generates_text or changed.update):
        raise ValueError("teacher = 'cache': its text is generated in training; allowed: 'live'")
    if changed.teacher in ("cache", "live") and method.teacher in ("none", "text"):
        raise ValueError(f"teacher = {changed.teacher!r}: its loss uses no teacher distributions")
    if changed.draws and not (method.draws and changed.teacher == "cache"):
        raise ValueError(
            f"draws = {changed.draws}: only for methods whose loss is unbiased over draws, and "
            "from a cache"
        )
    if changed.plain_text_kl and not (changed.plain_text_weight and changed.teacher == "live"):
        raise ValueError(
            f"plain_text_kl = {changed.plain_text_kl}: it needs `teacher: live`, which alone reads "
            "plain text, and a plain_text_weight above 0; allowed: 0"
        )
    if changed.relabelling_stages and changed.teacher != "text":
        raise ValueError(
            f"relabelling_stages = {changed.relabelling_stages}: only for methods that use the "
            "teacher's text alone"
        )
    return changed
