"""What was asked otherwise than it stands in the data: left out, cut, or read as plain text."""

from collections.abc import Iterator, Mapping
from typing import Any

Manifests = Mapping[str, Mapping[str, Any]]  # of artifacts


def limits(evaluations: Manifests, behind: Manifests) -> Iterator[str]:
    """A sentence for each; of evaluations, and of all that they were made from by "stage/id"."""
    for path, manifest in behind.items():
        if path.startswith("tokens/"):
            yield from (f"{warning}." for warning in manifest.get("warnings", []))
    for task, count in sorted(_most(evaluations, "left_out").items()):
        yield (
            f"{_counted(count, 'item')} of {task} had prompts longer than "
            "evaluation.prompt_tokens and were asked of no model."
        )
    for task, count in sorted(_most(evaluations, "cut").items()):
        models = [one for one in evaluations.values() if one.get("cut", {}).get(task)]
        yield (
            f"Texts of {task} lost their beginning where a model's positions were too few, as "
            f"lm-eval has it: up to {count}, in {len(models)} of {len(evaluations)} checkpoints. "
            "Models with fewer positions were asked less."
        )


def _most(evaluations: Manifests, what: str) -> dict[str, int]:
    """The most that an evaluation counts, by task; tasks where none does are left out."""
    found: dict[str, int] = {}
    for manifest in evaluations.values():
        for task, count in manifest.get(what, {}).items():
            found[task] = max(found.get(task, 0), count)
    return {task: count for task, count in found.items() if count}


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
