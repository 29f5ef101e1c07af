"""Which tokens end the texts of teachers that are used as they are, where folders tell it.

The texts of an experiment end as the first teacher ends its own. Another teacher that is not
trained on them must end texts so too: its signal at the end of a text would else be about a token
that is not there. What can't be told from files is checked by the jobs that read a teacher.
"""

import json
from pathlib import Path
from typing import Any

from pipeline.data.eos_tokens import MODEL_CONFIGS, same_endings, token_ids
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import PathModel


def faults(experiment: Experiment) -> list[str]:
    """A line for each teacher whose texts end otherwise than the experiment's."""
    if experiment.tokenizer is not None:
        return []
    first, *others = experiment.teachers
    as_they_are = [name for name in others if experiment.teachers[name].training is None]
    ends = _ends(experiment, first) if as_they_are else []
    if not ends:
        return []
    found = []
    for name in as_they_are:
        own = _ends(experiment, name)
        if own and not same_endings(own, ends):
            found.append(
                f"teachers.{name}: it ends texts with token {_listed(own)}, and the first teacher, "
                f"{first}, with {_listed(ends)}, as the experiment's texts do; give {name} "
                "`training`, put it first, or give it an experiment of its own"
            )
    return found


def _listed(ids: list[int]) -> str:
    return " and ".join(map(str, ids))


def _ends(experiment: Experiment, teacher: str) -> list[int]:
    """The ids that end a teacher's texts, its tokenizer's EOS first; empty if unknown."""
    model = experiment.models[experiment.teachers[teacher].model]
    if not isinstance(model, PathModel):
        return []
    folder = Path(model.path)
    eos = _eos(_read(folder / "tokenizer_config.json"), _read(folder / "tokenizer.json"))
    said = [_read(folder / name).get("eos_token_id") for name in MODEL_CONFIGS]
    if eos is None:
        return []
    return list(dict.fromkeys([eos, *(end for one in said for end in token_ids(one))]))


def _eos(config: dict[str, Any], tokenizer: dict[str, Any]) -> int | None:
    token = config.get("eos_token")
    content = token.get("content") if isinstance(token, dict) else token
    added = {one["content"]: one["id"] for one in tokenizer.get("added_tokens", [])}
    return added.get(content)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
