"""What a configuration names outside itself: files, packages, and the vocabularies of models."""

import hashlib
import json
from importlib import metadata
from pathlib import Path

from pipeline.settings.data import Docstrings, Files
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import LayersOf, PathModel, Shape


def faults(experiment: Experiment) -> list[str]:
    """Everything that is missing or does not fit together, a line each."""
    return [
        *_data_faults(experiment),
        *_model_faults(experiment),
        *_vocabulary_faults(experiment),
    ]


def _data_faults(experiment: Experiment) -> list[str]:
    source, place = experiment.data.examples, "data.examples"
    if isinstance(source, Files):
        named = {key: getattr(source, key) for key in ("train", "validation", "test", "plain_text")}
        return [
            f"{place}.{key} = {value!r}: there is no such file (a relative path starts at "
            f"{Path.cwd()})"
            for key, value in named.items()
            if isinstance(value, str) and not Path(value).is_file()
        ]
    if isinstance(source, Docstrings):
        return [
            f"{place}.packages.{at} = {name!r}: it is not installed; pip install it, or name others"
            for at, name in enumerate(source.packages)
            if not _installed(name)
        ]
    return []


def _installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _model_faults(experiment: Experiment) -> list[str]:
    found = []
    for name, model in experiment.models.items():
        if not isinstance(model, PathModel):
            continue
        place, folder = f"models.{name}.path = {model.path!r}", Path(model.path)
        if not (folder / "config.json").is_file():
            found.append(f"{place}: it holds no config.json; allowed: a folder with a saved model")
        elif not any(folder.glob("*.safetensors")):
            found.append(f"{place}: it holds no *.safetensors; other weights are not loaded")
        else:
            found += [f"{place}: {fault}" for fault in _kind_faults(folder / "config.json")]
    return found


def _kind_faults(path: Path) -> list[str]:
    """Why a model is none that is read here, as far as its configuration says."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return [f"its config.json is no JSON ({error})"]
    found = []
    if config.get("is_encoder_decoder"):
        found.append("it is an encoder-decoder; only decoders are supported")
    if config.get("quantization_config"):
        found.append("its weights are quantised, and such are not read; name what it was made from")
    return found


def _vocabulary_faults(experiment: Experiment) -> list[str]:
    """Teachers and students that cannot share a vocabulary, as far as can be told without them."""
    trained, cache = experiment.tokenizer, experiment.teacher_cache
    if trained is not None:
        foreign = [
            f"{place}: model {name} has a vocabulary of its own, and `tokenizer` trains another; "
            "teacher and student must share one: make it a shape, or leave `tokenizer` out"
            for place, name in _places(experiment)
            if not isinstance(_root(experiment, name), Shape)
        ]
        few = (
            f"teacher_cache.k = {cache.k}: tokenizer.vocabulary_size is only "
            f"{trained.vocabulary_size}"
        )
        return foreign + [few] * (cache.tier == "top_k" and cache.k > trained.vocabulary_size)

    first: dict[str, str] = {}
    for place, name in _places(experiment):
        root = _root(experiment, name)
        if isinstance(root, PathModel) and (words := _vocabulary(Path(root.path))):
            first.setdefault(words, f"{place} ({root.path})")
    if len(first) > 1:
        return [f"{' and '.join(first.values())} have different vocabularies; they must share one"]
    return []


def _places(experiment: Experiment) -> list[tuple[str, str]]:
    return [
        (f"{role}.{name}.model", one.model)
        for role in ("teachers", "students")
        for name, one in getattr(experiment, role).items()
    ]


def _root(experiment: Experiment, name: str) -> object:
    """The source that a model's vocabulary comes from."""
    model = experiment.models[name]
    return experiment.models[model.model] if isinstance(model, LayersOf) else model


def _vocabulary(folder: Path) -> str | None:
    """A digest of the tokens of a saved tokenizer; None if it is not saved as JSON."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    saved = json.loads(path.read_text(encoding="utf-8"))
    words = [saved["model"]["vocab"], [one["content"] for one in saved["added_tokens"]]]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
