"""A teacher of another vocabulary than its student's, and their texts aligned."""

from dataclasses import replace
from functools import cache

import tiny
import torch
from tokenizer_pairs import byte_level_bpe, unigram

from pipeline.data.batch import Text
from pipeline.distributions.spans import Vocabularies
from pipeline.losses import build_loss
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.distill import MethodSettings
from pipeline.tokenizer_alignment.alignment import AlignedText, Alignment
from pipeline.tokenizer_alignment.spans import align
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.tokenizer_alignment.token_bytes import begins_word, shared_ids, token_bytes
from pipeline.training.features import feature_term
from pipeline.training.state import TrainingRun

RESPONSES = ["the sum of 2 arrays", "naïve 猫 🙂", "returns\n\n  capitalize", "a", "1234567 getpid"]


@cache
def texts(kind) -> list[Text]:
    tokenizer = kind()
    return [
        Text(
            f"text-{number}",
            tokenizer.encode("def f:\n", add_special_tokens=False),
            [*tokenizer.encode(response, add_special_tokens=False), tokenizer.eos_token_id],
        )
        for number, response in enumerate(RESPONSES)
    ]


class Aligned(Alignment):
    """The alignment of these texts, in memory."""

    teacher_bytes = token_bytes(unigram())
    student_bytes = token_bytes(byte_level_bpe())

    def __init__(self) -> None:
        mine, yours = self.teacher_bytes, self.student_bytes
        self.__dict__["texts"] = {
            own.example_id: AlignedText(own, ends)
            for own, text in zip(texts(unigram), texts(byte_level_bpe), strict=True)
            if (
                ends := align(
                    [mine[i] for i in own.response_ids], [yours[i] for i in text.response_ids]
                )
            )
        }
        shared = shared_ids(mine, yours, unigram().eos_token_id, byte_level_bpe().eos_token_id)
        self.__dict__["vocabularies"] = Vocabularies(
            torch.tensor(shared), torch.tensor(begins_word(mine)), torch.tensor(begins_word(yours))
        )


def foreign_teacher() -> AlignedTeacher:
    model = tiny.llama(seed=1, vocabulary=len(Aligned.teacher_bytes) + 6)
    return AlignedTeacher(LiveTeacher(model), Aligned())


def aligned_run(method: MethodSettings, steps: int) -> TrainingRun:
    """A student of another vocabulary than its teacher's."""
    shared = texts(byte_level_bpe)
    run = tiny.run(build_loss(method.loss, method.loss_settings), steps=steps)
    training = run.settings.training.model_copy(update={"batch_size": len(shared)})
    run = replace(
        run,
        settings=run.settings.model_copy(update={"training": training, "method": method}),
        student=tiny.llama(seed=2, vocabulary=len(Aligned.student_bytes)),
        teacher=foreign_teacher(),
        train_set=shared,
    )
    return replace(run, features=feature_term(run.settings, run.student, run.teacher))
