"""How long and how fast a model is trained: the same budget for every method."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.methods.ranges import (
    Count,
    NonNegative,
    NonNegativeCount,
    Positive,
    Share,
    Word,
)
from pipeline.settings.base import Settings

Precision = Literal["auto", "float32", "bfloat16"]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Dropout = BelowOne | Literal["own"]


class Lora(Settings):
    """Low-rank adapters instead of all weights; by default as DistiLLM's code has them."""

    rank: Count = 16
    alpha: Positive = 64.0  # the adapter's output is multiplied by alpha / rank
    dropout: BelowOne = 0.1  # of the adapter's input
    targets: Literal["all-linear"] | Annotated[list[Word], Field(min_length=1)] | None = None
    # names of linear layers below the head; null: queries and values


OptimizerStates = Literal["float32", "8bit"]


class Training(Settings):
    """An optimizer's budget. Without dropout by default: a method is compared, no regulariser."""

    renamed_keys = {
        "warmup_share": "warmup_ratio",
        "final_rate_share": "final_learning_rate_ratio",
        "decayed": "weight_decay_on",
    }

    later_keys = ("dropout", "lora", "optimizer_states")

    steps: Count | None = None  # optimizer steps; either this or epochs
    epochs: Positive | None = None  # passes over the training texts
    batch_size: Count = 32  # texts in an optimizer step, whatever the machine
    learning_rate: Positive = 5e-4  # at its peak
    warmup_ratio: Share = 0.03  # of the steps, with the rate rising from zero
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final_learning_rate_ratio: Share = 0.0  # of the peak rate that the schedule ends at
    weight_decay: NonNegative = 0.01
    weight_decay_on: Literal["all", "matrices"] = "all"  # matrices: neither norms nor biases
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    max_gradient_norm: Positive = 1.0
    validations: NonNegativeCount = 4  # how often held-out NLL is measured on the way
    validation_texts: Count = 64  # how many texts that takes
    keep: Literal["last", "best"] = "last"  # which weights: best of those validated
    keep_by: Literal["nll", "rouge_l"] = "nll"  # rouge_l: of greedy responses, rollout_tokens long
    precision: Precision = "auto"  # auto: bfloat16 on a GPU
    dropout: Dropout = 0.0  # a probability wherever the family has one; own: as the model has them
    optimizer_states: OptimizerStates = "float32"  # AdamW's moments; 8bit: needs bitsandbytes
    lora: Lora | None = None  # adapters beside frozen weights; null: all weights are trained

    @model_validator(mode="after")
    def _one_budget(self) -> "Training":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self

    @model_validator(mode="after")
    def _best_is_measured(self) -> "Training":
        if self.keep == "best" and not self.validations:
            raise ValueError("keep = 'best' needs validations: give 1 or more, or keep = 'last'")
        return self

    @property
    def has_dropout(self) -> bool:
        """Whether anything drops in training: the model's own layers, or adapters."""
        return bool(self.dropout or (self.lora and self.lora.dropout))

    @property
    def validates_text(self) -> bool:
        """Whether validations write responses, by whose ROUGE-L weights are kept."""
        return (self.keep, self.keep_by) == ("best", "rouge_l")

    def for_job(self) -> dict[str, Any]:
        """The settings of a training job; keys that came later are left out at their defaults.

        So the ids of jobs stay as they were before there were such keys.
        """
        settings = self.model_dump(mode="json")
        if self.keep == "last":
            del settings["keep"], settings["keep_by"]
        return settings
