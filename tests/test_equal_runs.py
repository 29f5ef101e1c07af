"""Trainings that must end with equal weights: a plain loop of transformers, and other methods."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

import pytest
import torch
from annotations import unchecked
from players import END, VOCABULARY, Setup, run
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import apply_overrides, resolve
from pipeline.models.teacher import LiveTeacher
from pipeline.training.loop import train
from pipeline.training.schedule import draw_batch
from pipeline.training.state import TrainingRun, initial_state

STEPS = 5
COSINE = {
    "schedule": "cosine",
    "warmup_ratio": 0.3,
    "final_learning_rate_ratio": 0.1,
    "weight_decay": 0.05,
    "max_gradient_norm": 0.3,  # below the norm of every step
}


@dataclass(frozen=True)
class Trained:
    """A student after its last step, with the loss and the gradient norm of each step."""

    student: PreTrainedModel
    losses: Sequence[float | None]
    norms: Sequence[float | None]


def ended(made: TrainingRun) -> Trained:
    """What a run comes to in float64."""
    for model in made.models:
        model.double()
    if made.features is not None:
        made.features.projectors.double()
    state = initial_state(made)
    with unchecked():
        for _ in train(made, state):
            pass
    losses, norms = ([row[name] for row in state.rows] for name in ("loss_nats", "gradient_norm"))
    return Trained(made.student, losses, norms)


def furthest(model: PreTrainedModel, other: PreTrainedModel) -> float:
    """The largest difference of any two weights."""
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return max((weight - weight_of_other).abs().max().item() for weight, weight_of_other in pairs)


def log_probs(model: PreTrainedModel, texts: list[Text]) -> tuple[Tensor, Tensor]:
    """What a model says of all response tokens of texts that are padded on the left, and these."""
    whole = [[*text.prompt_ids, *text.response_ids] for text in texts]
    width = max(map(len, whole))
    ids = torch.tensor([[END] * (width - len(text)) + text for text in whole])
    mask = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in whole])
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=places).logits[:, :-1]
    lengths = torch.tensor([len(text.response_ids) for text in texts])
    is_target = torch.arange(1, width) >= width - lengths[:, None]
    return logits[is_target].log_softmax(-1), ids[:, 1:][is_target]


def by_hand(made: TrainingRun) -> Trained:
    """What a training comes to as it is usually written, by cross entropy or forward KL."""
    student, training = deepcopy(made.student).double(), made.settings.training
    teacher = made.teacher.model.double() if isinstance(made.teacher, LiveTeacher) else None
    decay, warmup = training.weight_decay, math.ceil(training.warmup_ratio * STEPS)
    adamw = torch.optim.AdamW(student.parameters(), betas=training.betas, weight_decay=decay)
    losses, norms = list[float](), list[float]()
    for step in range(STEPS):
        texts = draw_batch(made.train_set, step, training.batch_size, made.settings.seed)
        student_says, targets = log_probs(student, texts)
        if teacher is None:
            loss = torch.nn.functional.nll_loss(student_says, targets)
        else:
            teacher_says = log_probs(teacher, texts)[0].detach()
            loss = torch.nn.functional.kl_div(
                student_says, teacher_says, log_target=True, reduction="batchmean"
            )
        adamw.zero_grad()
        loss.backward()
        limit = training.max_gradient_norm
        norms.append(torch.nn.utils.clip_grad_norm_(student.parameters(), limit).item())
        losses.append(loss.item())
        falling = 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / (STEPS - warmup)))
        share = (step + 1) / (warmup + 1) if step < warmup else falling
        adamw.param_groups[0]["lr"] = share * training.learning_rate
        adamw.step()
    return Trained(student, losses, norms)


@pytest.mark.parametrize("method", ["sft", "forward_kl"])
@pytest.mark.parametrize("max_tokens", [25, 10_000])
def test_a_training_is_the_plain_loop_of_transformers(method: str, max_tokens: int) -> None:
    """Padded on either side, in one pass or cut, and by our sums or torch's."""
    made = replace(run(Setup(method, steps=STEPS, training=COSINE)), max_tokens=max_tokens)
    start, expected = deepcopy(made.student), by_hand(made)
    trained = ended(made)
    # the loss is summed in float32
    assert furthest(trained.student, expected.student) < 1e-6 < furthest(trained.student, start)
    assert trained.losses == pytest.approx(expected.losses, abs=1e-6)
    assert trained.norms == pytest.approx(expected.norms, abs=1e-6)


@dataclass(frozen=True)
class Method:
    """A method of the catalogue with some of its values."""

    name: str
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)

    def trained(self) -> PreTrainedModel:
        """Its student; never validated, as DistiLLM's share of student text rises with that."""
        changed = apply_overrides(METHODS[self.name], self.fields)
        resolved = resolve(changed, self.hyperparameters)
        setup = Setup(resolved, steps=2, batch_size=7, training={"validations": 0})
        return ended(run(setup)).student


NO_PLAIN_TEXT = {"plain_text_weight": 0.0}
EQUAL = [
    (Method("forward_kl", fields={"gold_weight": 1.0}), Method("sft")),
    (Method("hidden_mse", {"feature_weight": 0.0}), Method("forward_kl")),
    (Method("sft", fields={"text": "teacher"}), Method("seqkd")),
    (Method("miniplm", {"kept_share": 1.0}), Method("sft")),
    (Method("gkd", {"student_share": 0.0}), Method("jsd")),
    (Method("skd", {"gold_share": 1.0}), Method("forward_kl")),
    (Method("switch", {"gold_share": 1.0}, NO_PLAIN_TEXT), Method("skew_reverse_kl")),
    (Method("distillm", fields=NO_PLAIN_TEXT), Method("skew_reverse_kl")),
    (Method("taid", {"first": 1.0, "last": 1.0}), Method("forward_kl")),
    (Method("adakd", {"temperature_scale": 0.0}), Method("reverse_kl")),
    (Method("atkd", {"hard_share": 1.0, "easy_weight": 0.0}), Method("dkd", {"others_weight": 1})),
    (Method("iw_opd", {"early_weight": 0.0}), Method("opd")),
    (Method("g_opd", {"reward_weight": 1.0}), Method("opd")),
    (Method("kl_k2"), Method("opd")),  # on text that the student has just written
    (Method("entropy_aware_opd", {"forward_weight": 0.0}), Method("on_policy_reverse_kl")),
    (Method("top_k_reverse_kl", {"top": VOCABULARY}), Method("on_policy_reverse_kl")),
    (
        Method("skd", {"top": VOCABULARY, "student_temperature": 1.0, "student_top_p": 1.0}),
        Method("imitkd"),
    ),
]


@pytest.mark.parametrize(
    ("method", "other"), EQUAL, ids=[f"{method.name}-{other.name}" for method, other in EQUAL]
)
def test_a_method_at_the_end_of_its_range_is_the_method_that_it_goes_over_into(
    method: Method, other: Method
) -> None:
    assert furthest(method.trained(), other.trained()) < 1e-12
