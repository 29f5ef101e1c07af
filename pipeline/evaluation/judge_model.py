"""A local model as a judge: its answer is the most likely one of those allowed, or a reward.

The log-probabilities of the allowed answers are read instead of a text that the model writes: so
every model gives an answer, however it would have put it, and it takes one forward pass a question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.artifacts.schemas import Row
from pipeline.data.batch import Text, micro_batches
from pipeline.data.chat_encoding import ChatEncoder
from pipeline.data.conversations import Conversation, single_turn
from pipeline.data.encoding import Encoder
from pipeline.data.examples import Piece
from pipeline.evaluation.judge_prompts import Answer
from pipeline.models import positions
from pipeline.models.reward import reward
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.progress import ProgressLog
from pipeline.settings.data import ChatTemplate
from pipeline.tasks.definitions import RESPONSES

NO_THOUGHTS = ChatTemplate(kwargs={"enable_thinking": False})  # the answer is the next token


@dataclass(frozen=True)
class LocalJudge:
    """A model and its tokenizer; batches hold at most `max_tokens` positions."""

    name: str  # of the judge in the configuration
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int

    @torch.no_grad()
    def answers(self, questions: Sequence[str], allowed: Sequence[str]) -> list[Answer]:
        """The answer to each question, in their order.

        Raises:
            ValueError: for questions that are too long for the model, and for logits that are not
                numbers.
        """
        options = self._option_ids(allowed)
        longest = max(options, key=len)
        prompts = enumerate(self._prompts(questions))
        texts = [Text(str(index), prompt_ids, longest) for index, prompt_ids in prompts]
        key = (
            "evaluation.max_new_tokens, or let a model with more positions judge: "
            f"evaluation.judges.{self.name}.model"
        )
        positions.check(f"the judge {self.name}", self.model.config, texts, 0, key)
        answers: dict[int, Answer] = {}
        progress = ProgressLog(self.name, len(texts), "questions")
        for batch in micro_batches(texts, self.max_tokens, self.model.device):
            logits = LiveTeacher(self.model).logits(batch).float()
            if not logits.isfinite().all():
                raise ValueError(f"the logits of the judge {self.name} are not numbers (NaN)")
            log_probs = logits.log_softmax(-1).unflatten(0, (-1, len(longest)))
            scores = torch.stack([log_prob_of(ids, options, log_probs) for ids in options], dim=1)
            best = scores.log_softmax(-1).max(-1)
            places: list[int] = best.indices.tolist()
            values: list[float] = best.values.tolist()
            for text, place, value in zip(batch.texts, places, values, strict=True):
                answers[int(text.example_id)] = Answer(allowed[place], allowed[place], value)
            progress.step(len(batch.texts))
        return [answers[index] for index in range(len(texts))]

    def _prompts(self, questions: Sequence[str]) -> list[list[int]]:
        if not self.tokenizer.chat_template:
            pieces = [[Piece(question, False)] for question in questions]
            return Encoder(self.tokenizer).prompts(pieces)
        chats = [single_turn(question, "", "", f"judge {self.name}") for question in questions]
        return ChatEncoder(self.tokenizer, NO_THOUGHTS, ()).prompts(chats)

    def _option_ids(self, allowed: Sequence[str]) -> list[list[int]]:
        """The ids of each answer. Raises ValueError where they branch more than once."""
        encoder = Encoder(self.tokenizer)
        options = [encoder.alone([Piece(answer, True)]) for answer in allowed]
        longest = max(options, key=len)
        if len(set(map(tuple, options))) < len(options) or any(
            ids[:-1] != longest[: len(ids) - 1] for ids in options
        ):
            raise ValueError(
                f"the judge {self.name}: its tokenizer can't distinguish the answers "
                f"{', '.join(allowed)} by one token; allowed: another model"
            )
        return options


@dataclass(frozen=True)
class RewardModel:
    """A sequence classifier with one label, and its tokenizer."""

    name: str  # of the judge in the configuration
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    chats: Mapping[str, Conversation] = field(default_factory=dict)  # of the test split, by example

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        """The rewards of the responses in rows of OUTPUTS, as texts."""
        answers, progress = [], ProgressLog(self.name, len(rows), "responses")
        for row in rows:
            chat = self.chats.get(row["example_id"]) if row["task"] == RESPONSES else None
            value = repr(reward(self.model, self.tokenizer, row["prompt"], row["output"], chat))
            answers.append(Answer(value, value, nan))
            progress.step(1)
        return answers


def log_prob_of(ids: list[int], options: Sequence[list[int]], log_probs: Tensor) -> Tensor:
    """The log-probability of one of several answers, from those of tokens: [texts, places, ids].

    Where another answer begins with it, as 10 begins with 1, it is that it ends there.
    """
    whole = torch.stack([log_probs[:, place, id] for place, id in enumerate(ids)]).sum(0)
    length = len(ids)
    longer = [other for other in options if len(other) > length and other[:length] == ids]
    if not longer:
        return whole
    following = sorted({other[length] for other in longer})
    return whole + torch.log1p(-log_probs[:, length, following].exp().sum(-1))
