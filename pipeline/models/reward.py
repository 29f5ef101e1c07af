"""Reward models: one number for a conversation, by a sequence classifier with one label."""

import math
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.data.chat_encoding import ChatEncoder
from pipeline.data.conversations import Conversation, single_turn
from pipeline.data.encoding import Encoder
from pipeline.data.examples import Piece
from pipeline.models import foreign_files
from pipeline.models.weights import NAMED, errors_naming
from pipeline.settings.data import ChatTemplate


def load_reward_model(folder: Path) -> PreTrainedModel:
    """The reward model in a folder, on the CPU. No code of its own is run.

    Raises:
        ValueError: for files that lack weights, and for a model of another kind.
    """
    foreign_files.check_folder(folder)
    with errors_naming(folder, "its config.json"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.num_labels != 1:
        raise ValueError(f"{folder} has {config.num_labels} labels; a reward model has one")
    read: Any = AutoModelForSequenceClassification.from_pretrained  # typed without loading info
    with errors_naming(folder, "its reward model"):
        model, info = read(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    if info["missing_keys"]:
        lacking = ", ".join(sorted(info["missing_keys"])[:NAMED])
        raise ValueError(
            f"{folder}: its weights lack {lacking}; random ones would take their place: name a "
            "reward model that was saved whole"
        )
    return model.eval()


@torch.no_grad()
def reward(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    response: str,
    chat: Conversation | None = None,
) -> float:
    """The reward of a response, alone in its batch: no padding can stand behind its last token.

    `chat` is the conversation whose last answer it is, where it is more than a prompt.
    """
    if tokenizer.chat_template:
        asked = chat or single_turn(prompt, "", "", "the response to judge")
        ids = ChatEncoder(tokenizer, ChatTemplate(), ()).whole(asked.with_answer(response))
    else:
        pieces = [Piece(prompt, False), Piece(response, False)]
        (ids,) = Encoder(tokenizer).prompts([pieces])
    value = float(model(input_ids=torch.tensor([ids], device=model.device)).logits[0, 0])
    if not math.isfinite(value):
        raise ValueError("the rewards of the judge are not numbers (NaN): its weights are broken")
    return value
