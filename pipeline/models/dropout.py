"""Dropout in training: where a family's configuration has its probabilities, and what it draws.

N. Srivastava, G. Hinton, A. Krizhevsky, et al., 2014. Dropout: A Simple Way to Prevent Neural
Networks from Overfitting. JMLR 15, 1929-1958. A model is in training mode while the gradient of a
step is computed, and otherwise in evaluation mode: generation, validation and every teacher have no
dropout. How a step is cut into micro-batches, and shared among ranks, changes what is drawn, unlike
any other number.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from pipeline.settings.training import Dropout, Training

ADAPTER_DROPOUT = "lora_dropout"  # in the name of a layer
# of embeddings, attention and residual branches; heads that classify have others
ATTRIBUTES = (
    *("attn_pdrop", "resid_pdrop", "embd_pdrop", "emb_pdrop"),
    *("attention_dropout", "hidden_dropout", "dropout", "embedding_dropout", "embed_dropout"),
    *("residual_dropout", "resid_dropout", "mlp_dropout"),
    *("attention_probs_dropout_prob", "hidden_dropout_prob"),
)


def probabilities(config: PreTrainedConfig, dropout: Dropout) -> dict[str, float]:
    """The attributes of a family's configuration that give a model its dropout, with their values.

    Raises: ValueError for a family without any, and for `own` where all of a model's own are 0.
    """
    own = {name: getattr(config, name) for name in ATTRIBUTES if hasattr(config, name)}
    values = own if dropout == "own" else dict.fromkeys(own, dropout)
    if dropout and not any(values.values()):
        has = "has no dropout" if not own else f"has {own} of its own"
        raise ValueError(
            f"training.dropout = {dropout!r}: the family {config.model_type} {has}, so that it "
            "would do nothing; allowed: 0" + (", or a probability" if own else "")
        )
    return values if dropout else {}


@contextmanager
def training_mode(model: PreTrainedModel, training: Training) -> Iterator[None]:
    """Turns a model's dropout on, or that of its adapters, while a step's gradient is computed."""
    if not training.has_dropout:
        yield
        return
    if training.dropout:
        model.train()
    else:
        for name, layer in model.named_modules():
            layer.training = ADAPTER_DROPOUT in name
    try:
        yield
    finally:
        model.eval()


def seed_draws(has_dropout: bool, *place: int) -> None:
    """Makes the next draws of dropout those of a seed, a step and a micro-batch of it.

    So a resumed run draws what one without a break does, and a second pass over a micro-batch what
    the first did.
    """
    if has_dropout:
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
