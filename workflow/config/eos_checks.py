"""Checks of the tokens that end texts, as far as the files of saved models name them."""

from collections.abc import Iterator, Mapping

from pipeline.data.eos_tokens import MODEL_CONFIGS, same_endings, token_ids
from pipeline.settings.experiment import Experiment
from workflow.config.saved_models import (
    folder_of,
    lacks_eos,
    read_json,
    tokenizer_folder,
    used_models,
    vocabulary_source,
)

NO_EOS = (
    "its tokenizer has no EOS token, so that a student could not learn to stop; name one as "
    "eos_token in tokenizer_config.json"
)


def faults(experiment: Experiment) -> Iterator[str]:
    """Models whose texts would not end, or end otherwise than the experiment's."""
    yield from _no_eos_faults(experiment)
    yield from _eos_faults(experiment)


def _no_eos_faults(experiment: Experiment) -> Iterator[str]:
    for name in dict.fromkeys(name for _, name in used_models(experiment)):
        if lacks_eos(vocabulary_source(experiment, name)):
            yield f"models.{name}: {NO_EOS}"


def _eos_faults(experiment: Experiment) -> Iterator[str]:
    """Teachers used as they are whose texts end otherwise than the experiment's.

    The texts of an experiment end as the first teacher ends its own. The distributions of another
    teacher at the end of a text would be about a token that is not there, unless it is trained on
    these texts.
    """
    sharing = [name for name, each in experiment.local_teachers.items() if each.tokenizer is None]
    untrained = [name for name in sharing[1:] if experiment.teachers[name].training is None]
    if experiment.tokenizer is not None or not untrained:
        return
    text_eos = _eos_ids(experiment, sharing[0])
    for name in untrained if text_eos else ():
        eos = _eos_ids(experiment, name)
        if eos and not same_endings(eos, text_eos):
            own, shared = (" and ".join(map(str, ids)) for ids in (eos, text_eos))
            yield (
                f"teachers.{name}: it ends texts with token {own}, and the first teacher, "
                f"{sharing[0]}, with {shared}, as the experiment's texts do; give {name} "
                "`training`, put it first, or give it an experiment of its own"
            )


def _eos_ids(experiment: Experiment, teacher: str) -> list[int]:
    """The ids that end a teacher's texts, its tokenizer's EOS first; empty if unknown."""
    model = experiment.models[experiment.teachers[teacher].model]
    saved, folder = folder_of(model), tokenizer_folder(model)
    if saved is None or folder is None:
        return []
    token = read_json(folder / "tokenizer_config.json").get("eos_token")
    content = token.get("content") if isinstance(token, Mapping) else token
    added = read_json(folder / "tokenizer.json").get("added_tokens", [])
    eos = {token["content"]: token["id"] for token in added}.get(content)
    if eos is None:
        return []
    named = [read_json(saved / file).get("eos_token_id") for file in MODEL_CONFIGS]
    return list(dict.fromkeys([eos, *(id for ids in named for id in token_ids(ids))]))
