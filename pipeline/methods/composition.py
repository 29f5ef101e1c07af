"""Methods put together in a configuration: any loss on any text, where the pair makes sense.

Read without importing torch, as the catalogue is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from pipeline.methods import components
from pipeline.methods.components import Kind
from pipeline.methods.method import FIELDS, Method, ResolvedMethod

OWN = Method(title="", loss="", source="put together in the configuration", evidence="own")


def compose(base: Method | None, parts: Mapping[Kind, str]) -> Method:
    """A method of the catalogue with other parts, or a method of these parts alone.

    A composed method whose parts can't use the base's teacher gets the cheapest that they can.

    Raises: ValueError for an unknown part, a method without a loss, or a base that is more than its
        parts.
    """
    for kind, name in parts.items():
        if name not in (known := components.names(kind)):
            raise ValueError(f"{FIELDS[kind]} = {name!r}: allowed: {', '.join(known)}")
    if base is None and "losses" not in parts:
        raise ValueError("loss: the key is missing: a method without a base needs one")
    changed = replace(base or OWN, **{FIELDS[kind]: name for kind, name in parts.items()})
    if base is not None and changed == base:
        return base
    if changed.draws or changed.relabelling_stages:
        raise ValueError(
            f"{', '.join(FIELDS[kind] for kind in parts)}: this method is more than its parts; "
            "allowed: a row without `method`, with a `loss` and a `policy`"
        )
    return replace(
        changed,
        title=_title(changed),
        evidence="own",
        teacher=_teacher(changed),
        departures=f"{changed.departures} The combination is this configuration's.".strip(),
    )


def check(resolved: ResolvedMethod) -> None:
    """Raises ValueError saying why, where a loss makes no sense on the policy's text."""
    if fault := next(_faults(resolved), None):
        raise ValueError(fault)


# constants of a loss, those of a policy that it needs for them, and what it does with its texts
OF_PAIRS = ("needs_pairs", "makes_pairs", "the teacher's and the student's response to one prompt")
OF_GROUPS = ("needs_rewards", "writes_groups", "the rewards of several responses to a prompt")


def _faults(resolved: ResolvedMethod) -> Iterator[str]:
    loss, policy = resolved.method.loss, resolved.method.policy
    if components.has("losses", loss, "needs_sampled_texts"):
        yield from _sampling_faults(resolved)
    for need, makes, compared in (OF_PAIRS, OF_GROUPS):
        if components.has("losses", loss, need) and not components.has(
            "data_policies", policy, makes
        ):
            allowed = ", ".join(components.names_with("data_policies", makes))
            yield f"policy = {policy!r}: {loss} compares {compared}; allowed: {allowed}"
    yield from _self_taught_faults(resolved.method)
    yield from _gold_faults(resolved)
    if resolved.feature_settings.get("layers") == "uniform" and resolved.method.teacher == "cache":
        yield (
            "layers = 'uniform': a cache has the teacher's last layer alone; allowed: 'last', or "
            "`teacher: live`"
        )
    yield from _reward_faults(resolved)
    alone = components.generates_text(policy) and not _teacher_writes(policy)
    if alone and not resolved.method.compares_distributions:
        yield (
            f"policy = {policy!r}: {loss} on text that the student wrote alone teaches it nothing; "
            "allowed: a loss that reads the teacher's distributions, or text that the teacher "
            "writes in part"
        )


def _sampling_faults(resolved: ResolvedMethod) -> Iterator[str]:
    """Where a policy gradient has texts that were not sampled with known probabilities."""
    loss, policy = resolved.method.loss, resolved.method.policy
    known = _sampled_where(policy)
    if not isinstance(known, tuple):
        policies = components.names("data_policies")
        allowed = ", ".join(name for name in policies if _sampled_where(name) is not None)
        yield (
            f"policy = {policy!r}: {loss} is a policy gradient: it needs texts that were all "
            f"sampled with known probabilities; allowed: {allowed}"
        )
    elif known and resolved.policy_settings[known[0]] != known[1]:
        yield (
            f"{known[0]} = {resolved.policy_settings[known[0]]}: {loss} is a policy gradient: "
            f"every text must be sampled in training; allowed: {known[1]}"
        )
    if resolved.policy_settings.get("temperature") == 0:
        yield (
            f"temperature = 0: {loss} is a policy gradient, in expectation over what is sampled, "
            "and greedy text isn't; allowed: a temperature above 0"
        )


def _gold_faults(resolved: ResolvedMethod) -> Iterator[str]:
    """Where cross entropy has a share in the loss, and no text that it could be taken on."""
    policy, settings = resolved.method.policy, resolved.policy_settings
    known = _sampled_where(policy)
    writes_all = known == () or settings.get("gold_share") == 0
    if isinstance(known, tuple) and known:
        writes_all |= settings[known[0]] == known[1]
    if writes_all and (weight := resolved.method.gold_weight):
        yield (
            f"gold_weight = {weight}: cross entropy is taken on text as it was drawn, and policy = "
            f"{policy!r} leaves none as it is set; allowed: 0"
        )


def _reward_faults(resolved: ResolvedMethod) -> Iterator[str]:
    """Where no answer says what is right, or a right response is to be shown and none is known."""
    loss, shows = resolved.method.loss, resolved.update_settings.get("shows")
    if components.has("losses", loss, "needs_rewards") and resolved.method.text == "teacher":
        yield (
            f"text = 'teacher': {loss} rewards the answer of the gold response, and a teacher's "
            "text would stand in its place; allowed: 'gold'"
        )
    if components.has("losses", loss, "needs_solutions") and shows != "solution":
        yield (
            f"loss = {loss!r}: its teacher must be shown a right response; allowed: with `update: "
            "{name: privileged_prompt, shows: solution}`"
        )
    if shows == "solution" and not components.has("losses", loss, "needs_rewards"):
        rewarded = ", ".join(components.names_with("losses", "needs_rewards"))
        yield (
            f"shows = 'solution': {loss} checks no answer, so that no response is known to be "
            f"right; allowed: 'reference', 'demonstration', or a loss of {rewarded}"
        )


def _self_taught_faults(method: Method) -> Iterator[str]:
    """What a student that teaches itself can't have."""
    if method.teacher != "self":
        return
    if not method.compares_distributions:
        yield f"loss = {method.loss!r}: it reads the text alone; allowed: one that reads a teacher"
    if _teacher_writes(method.policy):
        yield (
            f"policy = {method.policy!r}: the teacher writes in it from the student's prompt, and "
            "is the student; allowed: text of the student alone, or none that is generated"
        )
    if components.selects_texts(method.policy):
        yield (
            f"policy = {method.policy!r}: it keeps texts that a teacher finds likelier than the "
            "student does, and the teacher is the student; allowed: 'fixed'"
        )


def _teacher_writes(policy: str) -> bool:
    return components.has("data_policies", policy, "teacher_writes")


def _sampled_where(policy: str) -> object:
    return components.class_constant("data_policies", policy, "samples_every_text_where", None)


def _title(method: Method) -> str:
    features = f" and {method.features}" if method.features else ""
    update = f", teacher update {method.update}" if method.update else ""
    return f"{method.loss}{features} on {method.policy} text{update}"


def _teacher(method: Method) -> Literal["none", "text", "cache", "live", "self"]:
    """The teacher that the parts need, where it isn't the one that the method has."""
    if method.update and components.has("teacher_updates", method.update, "teaches_itself"):
        return "self"
    if method.generates_text or method.update:
        return "live"
    if not method.compares_distributions and not components.selects_texts(method.policy):
        return "text" if method.text == "teacher" else "none"
    return "live" if method.teacher == "live" or method.whole_vocabulary else "cache"
