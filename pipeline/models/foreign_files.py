"""What the files of a model from elsewhere may be: data within their folder, and no code.

Looked at before any of it is loaded. Nothing here runs what a model brings along: weights are
safetensors, never pickles, and configurations and tokenizers those of transformers itself.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pipeline.data import untrusted

CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
ADAPTERS = "adapter_config.json"  # of what peft saves
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "tekken.json")
DESCRIPTIONS = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]  # all but weights
AROUND_LAYERS = ("embed", "wte", "wpe", "lm_head")  # in the names of tables and of the head
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
WIDTHS = ("hidden_size", "n_embd", "d_model")
DIMENSIONS = (*LAYERS, *WIDTHS, "vocab_size")
# made by `python -m benchmarks.families`: families that differ from their own forward or `generate`
REFUSED_FAMILIES = Path(__file__).parent / "refused_families.json"
OWN_CODE = (
    "it brings code of its own ({key} in {file}), which is never run; name a model of a kind that "
    "transformers knows"
)


def first(config: Mapping[str, Any], names: Iterable[str]) -> int | None:
    """The value under the first of some names that a configuration has."""
    return next((config[name] for name in names if name in config), None)


def check_folder(folder: Path) -> None:
    """Raises ValueError with the first fault of a saved model."""
    for fault in folder_faults(folder):
        raise ValueError(f"{folder}: {fault}")


def folder_faults(folder: Path) -> Iterator[str]:
    """Why a saved model can't be used, as far as its files tell."""
    if not (folder / CONFIG).is_file():
        way_out = "allowed: a folder with a saved model"
        if (folder / ADAPTERS).is_file():
            way_out = f"{ADAPTERS} is of adapters alone, merge them into their model and save that"
        yield f"it has no {CONFIG}; {way_out}"
        return
    faults = [*link_faults(folder), *description_faults(folder)]
    yield from faults or _weight_faults(folder)


def description_faults(folder: Path) -> Iterator[str]:
    """Why a model can't be used, as far as the files beside its weights tell."""
    for name, faults_of in READERS.items():
        if (folder / name).is_file():
            try:
                value = json.loads((folder / name).read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                yield f"its {name} is invalid JSON ({error})"
                continue
            if isinstance(value, dict):
                yield from faults_of(value)
            else:
                yield f"its {name} holds a JSON {type(value).__name__}, expected an object"


def family_faults(folder: Path) -> Iterator[str]:
    """Why a model of this family can't be used: what was found when a tiny one was tried."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    tried = json.loads(REFUSED_FAMILIES.read_text(encoding="utf-8"))
    for part in (config, config.get("text_config")):
        family = part.get("model_type") if isinstance(part, dict) else None
        if family in tried["families"]:
            yield (
                f"models of the family {family} can't be used, as tried with transformers "
                f"{tried['transformers']} ({tried['families'][family]}); docs/families.md lists "
                "families that can"
            )


def tokenizer_faults(folder: Path) -> Iterator[str]:
    """A model that came without a tokenizer, such as one that shares another repository's."""
    if not any([*folder.glob(name)] for name in TOKENIZER_FILES):
        yield (
            "it has no tokenizer; name the folder or the repository whose tokenizer it uses as the "
            "model's `tokenizer`"
        )


def config_faults(config: Mapping[str, Any]) -> Iterator[str]:
    """Why a kind of model is not supported, as far as its configuration tells."""
    if config.get("is_encoder_decoder"):
        yield "it is an encoder-decoder; only decoders are supported"
    if config.get("quantization_config"):
        yield (
            "its weights are quantised (quantization_config in config.json), which is not "
            "supported; name the model it was made from, or save it de-quantised"
        )
    if config.get("auto_map") and not _is_known(str(config.get("model_type"))):
        yield OWN_CODE.format(key="auto_map", file=CONFIG)
    for key, kind in (("model_type", str), ("text_config", dict)):
        if not isinstance(config.get(key), kind | None):
            yield f"its {CONFIG} has {key} = {config[key]!r:.40}, expected a JSON {kind.__name__}"
    for key in DIMENSIONS:
        value = config.get(key, 1)
        if type(value) is not int or value < 1:
            yield f"its {CONFIG} has {key} = {value!r:.40}, expected a positive whole number"


def _is_known(model_type: str) -> bool:
    from transformers import CONFIG_MAPPING  # slow to import

    return model_type in CONFIG_MAPPING


def _tokenizer_faults(config: Mapping[str, Any]) -> Iterator[str]:
    """A tokenizer of a class that transformers lacks is code, too."""
    if not config.get("auto_map"):
        return
    import transformers  # slow to import

    name = str(config.get("tokenizer_class"))
    if all(getattr(transformers, known, None) is None for known in (name, f"{name}Fast")):
        yield OWN_CODE.format(key="auto_map", file=TOKENIZER_CONFIG)


def _index_faults(index: Mapping[str, Any]) -> Iterator[str]:
    names = index.get("weight_map")
    files = set(names.values()) if isinstance(names, dict) else set()
    if not files:
        yield f"its {INDEX} has no weight_map"
    for file in sorted(map(str, files)):
        if Path(file).name != file or not file.endswith(".safetensors"):
            yield f"its {INDEX} names {file!r:.80}, which is no *.safetensors of the same folder"


READERS = {
    CONFIG: config_faults,
    GENERATION_CONFIG: lambda _: (),
    TOKENIZER_CONFIG: _tokenizer_faults,
    INDEX: _index_faults,
}


def link_faults(folder: Path) -> Iterator[str]:
    """Links that lead out of a folder, but for those of the hub's cache to its own files."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and untrusted.leads_out(path, folder):
            yield (
                f"{path.relative_to(folder)} is a link out of the folder, to {path.resolve()}; if "
                "you trust it, put a copy in its place"
            )


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads the weights of a saved model from; none if it has none."""
    has_weights = (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()
    return [folder / name for name in weight_names(folder)] if has_weights else []


def weight_names(folder: Path) -> list[str]:
    """The names of the files with a model's weights, by its index if it has one."""
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return [WEIGHTS]
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return sorted(set(index["weight_map"].values()))


def _weight_faults(folder: Path) -> Iterator[str]:
    files = weight_files(folder)
    if not any(folder.glob("*.safetensors")):
        yield "it has no *.safetensors: other weights are not loaded"
    elif not files:
        yield f"it has neither {WEIGHTS} nor {INDEX}: its weights have another name"
    elif missing := [file.name for file in files if not file.is_file()]:
        yield f"its {INDEX} names {missing[0]}, which is not there; fetch it again"
    else:
        yield from _size_faults(folder)


def _size_faults(folder: Path) -> Iterator[str]:
    """Dimensions that the weights can't have: a claim of millions of layers costs memory, too."""
    try:
        shapes = weight_shapes(folder)
    except ValueError as error:
        yield str(error)
        return
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    elements = sum(map(math.prod, shapes.values()))
    for key in DIMENSIONS:
        limit = len(shapes) if key in LAYERS else elements
        if config.get(key, 1) > limit:
            held = f"{len(shapes)} tensors with {elements} elements"
            yield f"its {CONFIG} has {key} = {config[key]}, which {held} can't be the weights of"


def layer_names(folder: Path) -> list[str]:
    """The names of a saved model's layers with a matrix, but for embeddings and the head."""
    return [
        name.removesuffix(".weight")
        for name, shape in weight_shapes(folder).items()
        if name.endswith(".weight") and len(shape) == 2
        if not any(part in name for part in AROUND_LAYERS)
    ]


def weight_shapes(folder: Path) -> dict[str, list[int]]:
    """The shapes of a saved model's weights, by name, from the headers of their files.

    Raises: ValueError for a file that is not a whole safetensors file.
    """
    shapes: dict[str, list[int]] = {}
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="numpy") as tensors:
                names = tensors.keys()
                shapes |= {name: tensors.get_slice(name).get_shape() for name in names}
        except (SafetensorError, OSError) as error:
            fault = f"{file.name} is not a whole safetensors file ({error})"
            raise ValueError(f"{fault}; fetch it again") from None
    return shapes
