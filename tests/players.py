"""Tiny students and teachers, a language for them to learn, and the runs that they take part in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from pipeline.data.batch import Text, collate
from pipeline.data.encoding import Encoder
from pipeline.data_policies import build_policy
from pipeline.generation import generate, sampler
from pipeline.generation.rollouts import StepContext
from pipeline.losses import ReferenceLoss, RewardedLoss, build_loss
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import ResolvedMethod, resolve
from pipeline.models.language_model import response_logits
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.distill import DistillSettings, MethodSettings
from pipeline.settings.generation import Sampling
from pipeline.settings.training import Training
from pipeline.teacher_updates import attach_update
from pipeline.training.features import feature_term
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, TrainingState, initial_state

VOCABULARY = 32
END = 1
BUDGET = 60  # positions in a micro-batch: several of them make a step
CPU = torch.device("cpu")


def llama(seed: int, width: int = 16, spread: float = 0.3, layers: int = 1) -> LlamaForCausalLM:
    """A small Llama whose random weights make some tokens much likelier than others."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        initializer_range=spread,
        eos_token_id=END,
        bos_token_id=END,
        pad_token_id=END,
    )
    return LlamaForCausalLM(config).eval()


def words() -> PreTrainedTokenizerFast:
    """A tokenizer with a word for each id, and none of what stands between them."""
    model = WordLevel({f"word{index}": index for index in range(VOCABULARY)}, unk_token="word0")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="word1")


def texts(count: int) -> list[Text]:
    """Prompts of one to seven tokens; the responses count on from the last one, to an EOS."""
    pool = []
    for index in range(count):
        prompt = [2 + (index * 7 + place * place) % 29 for place in range(1 + index % 7)]
        counted = [2 + (prompt[-1] + step) % 29 for step in range(2 + index % 5)]
        pool.append(Text(f"example-{index}", prompt, [*counted, END]))
    return pool


def log_probs(model: PreTrainedModel, text: Text) -> Tensor:
    """What a model says of each response token, in one pass without cache or padding."""
    with torch.no_grad():
        return response_logits(model, collate([text], CPU)).double().log_softmax(-1)


def turn(
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    pool: list[Text],
    step: int = 0,
    steps: int = 20,
    batch_size: int = 4,
    max_new_tokens: int = 8,
) -> StepContext:
    """A step of training, with a state of its own."""
    return StepContext(
        step=step,
        steps=steps,
        epoch=step * batch_size // len(pool),
        train_set=pool,
        student=student,
        teacher=teacher,
        max_new_tokens=max_new_tokens,
        seed=step + 100,
        rng=np.random.default_rng(step + 100),
        state={},
    )


@dataclass(frozen=True)
class Setup:
    """What a run may differ in."""

    method: str | ResolvedMethod  # of the catalogue, or put together
    steps: int = 8
    batch_size: int = 6
    learning_rate: float = 5e-3
    seed: int = 1
    training: Mapping[str, object] = field(default_factory=dict)  # further keys
    place: Callable[[PreTrainedModel], PreTrainedModel] = lambda model: model  # on a device


def run(setup: Setup) -> TrainingRun:
    """A run of a method from fresh weights, on the counting language."""
    resolved = setup.method
    if isinstance(resolved, str):
        resolved = resolve(METHODS[resolved], {})
    method = resolved.method
    teacher = LiveTeacher(setup.place(schooled())) if method.teacher in ("cache", "live") else None
    training = Training(
        steps=setup.steps,
        batch_size=setup.batch_size,
        learning_rate=setup.learning_rate,
        warmup_ratio=0,
        schedule="constant",
    ).model_copy(update=dict(setup.training))
    settings = DistillSettings(
        method=MethodSettings.model_validate(resolved.settings),
        training=training,
        max_new_tokens=6,
        seed=setup.seed,
    )
    pool = list(teacher_texts() if method.text == "teacher" else texts(20))
    student, untrained = (setup.place(llama(setup.seed, spread=0.05)) for _ in range(2))
    untrained.requires_grad_(False)
    teacher, update = attach_update(settings, student, teacher, pool, Encoder(words()), BUDGET)
    loss = build_loss(method.loss, resolved.loss_settings)
    return TrainingRun(
        settings=settings,
        student=student,
        teacher=teacher,
        loss=loss,
        policy=build_policy(method.policy, resolved.policy_settings),
        teacher_update=update,
        train_set=pool,
        validation_set=texts(30)[20:],
        plain_text=[
            Text(f"plain-{index}", [END], text.prompt_ids) for index, text in enumerate(texts(9))
        ]
        if method.plain_text_weight
        else [],
        max_tokens=BUDGET,
        tokenizer=words() if isinstance(loss, RewardedLoss) else None,
        reference=LiveTeacher(untrained) if isinstance(loss, ReferenceLoss) else None,
        features=feature_term(settings, student, teacher),
    )


def trained(setup: Setup) -> tuple[TrainingRun, TrainingState]:
    """A run after its last step."""
    made = run(setup)
    state = initial_state(made)
    for _ in train(made, state):
        pass
    return made, state


@cache
def _school() -> PreTrainedModel:
    made = run(Setup("sft", steps=60, batch_size=16, learning_rate=1e-2))
    made = replace(made, student=llama(99, width=32, spread=0.1))
    for _ in train(made, initial_state(made)):
        pass
    return made.student


def schooled() -> PreTrainedModel:
    """A teacher that can count, a copy for each run: one that learns too must not spoil it."""
    copy = llama(0, width=32)
    copy.load_state_dict(_school().state_dict())
    return copy.requires_grad_(False)


@cache
def teacher_texts() -> tuple[Text, ...]:
    """What the teacher answers to the prompts."""
    return tuple(generate(texts(20), [schooled()], sampler(Sampling()), 6, 0, "teacher"))
