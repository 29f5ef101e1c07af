"""A student that teaches itself: what its copy reads, what it is of, and what is learnt from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from players import CPU, END, Setup, llama, log_probs, run, schooled, texts, words
from shelf import put_all
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from pipeline.data.batch import Text, collate
from pipeline.data.encoding import Encoder
from pipeline.data.privileged_prompts import PrivilegedPrompts
from pipeline.distributions.log_probs import log_probs_on
from pipeline.methods.method import ResolvedMethod
from pipeline.models.language_model import response_logits
from pipeline.models.lora import attach
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.experiment import MethodChoice
from pipeline.settings.training import Lora
from pipeline.stages import training_run
from pipeline.teacher_updates import attach_update
from pipeline.training import checkpoint
from pipeline.training.batches import step_batch, with_teacher
from pipeline.training.loop import backward_of_step, train
from pipeline.training.run_checks import check_positions
from pipeline.training.state import TrainingRun, initial_state
from workflow.config.method_checks import resolved_method
from workflow.config.validate import ConfigError, validate
from workflow.grid.grid import Grid
from workflow.resources.estimates import workload_of

SHOWN = "{example_prompt}{example_response} word7 {prompt}"


def row(**keys: Any) -> ResolvedMethod:
    return resolved_method("row", MethodChoice.model_validate(keys))


def prompts(template: str, shows: Any = "reference", pool: list[Text] | None = None):
    return PrivilegedPrompts(template, shows, pool or texts(9), Encoder(words()), [END], seed=3)


def of_schooled(**keys: Any) -> TrainingRun:
    """A run of a student that can count, and so make something of what it is shown."""
    made = run(Setup(row(**{"method": "opsd", "template": SHOWN} | keys), learning_rate=1e-3))
    student = schooled().requires_grad_(True)
    encoder = Encoder(words())
    teacher, update = attach_update(made.settings, student, None, made.train_set, encoder, 60)
    return replace(made, student=student, teacher=teacher, teacher_update=update)


def after(made: TrainingRun, steps: int) -> TrainingRun:
    for step in train(made, initial_state(made)):
        if step == steps:
            break
    return made


def loss_of_first_step(made: TrainingRun) -> float:
    state = initial_state(made)
    return backward_of_step(made, state, step_batch(made, state, 0)).item()


def weights(model: torch.nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


def test_a_prompt_is_the_template_s_words_between_what_is_shown_and_what_is_asked() -> None:
    pool = [Text("a", [5, 6], [8, 9, END]), Text("b", [4], [3, 2])]
    privileged = prompts("word20 {example_response} word21 {prompt}", pool=pool)
    assert privileged.text(pool[0]).prompt_ids == [20, 8, 9, 21, 5, 6]
    assert privileged.text(pool[1]).prompt_ids == [20, 3, 2, 21, 4]
    rollout = Text("a", [5, 6], [17, END], author="student", log_probs=[-1.0, -2.0])
    assert privileged.text(rollout) == replace(rollout, prompt_ids=[20, 8, 9, 21, 5, 6])


def test_a_demonstration_is_another_example_the_same_at_every_step() -> None:
    pool = texts(9)
    privileged = prompts("{prompt}", "demonstration", pool)
    shown = {text.example_id: privileged.example(text.example_id).example_id for text in pool}
    assert all(example != other for example, other in shown.items())
    assert len(set(shown.values())) > 3
    assert shown == {
        text.example_id: privileged.example(text.example_id).example_id for text in pool
    }
    with pytest.raises(ValueError, match=r"one example.*allowed: 'reference'"):
        prompts("{prompt}", "demonstration", pool[:1]).text(pool[0])


def test_a_solution_is_another_response_and_without_one_nothing_is_shown() -> None:
    pool = [Text("a", [5, 6], [8, 9, END])]
    privileged = prompts("word20 {example_response} word21 {prompt}", "solution", pool)
    rollout = Text("a", [5, 6], [17, END], author="student", log_probs=[-1.0, -2.0])
    assert privileged.text(rollout) is rollout
    shown = replace(rollout, solution=[7, 8, END])
    assert privileged.text(shown) == replace(shown, prompt_ids=[20, 7, 8, 21, 5, 6])
    longest = privileged.longest(new_tokens=10)
    assert len(longest.prompt_ids) == len([20, *range(10), 21, 5, 6])


def test_sdpo_learns_from_what_the_copy_says_behind_a_right_response() -> None:
    made = of_schooled(method="sdpo", template=SHOWN, samples=3, temperature=1.5)
    state = initial_state(made)
    batch = step_batch(made, state, 0)
    with_solution = [text for text in batch.texts if text.solution is not None]
    assert 0 < len(with_solution) < len(batch.texts)
    assert isinstance(made.teacher, LiveTeacher)
    assert made.teacher.prompts is not None

    total = 0.0
    for text in with_solution:
        p, q = (
            log_probs(made.student, each).gather(-1, torch.tensor(text.response_ids)[:, None])
            for each in (made.teacher.prompts.text(text), text)
        )
        weights_of_tokens = (q[:, 0] - torch.tensor(text.log_probs)).exp()
        total -= (weights_of_tokens * (p - q)[:, 0]).sum().item()
    loss = backward_of_step(made, state, batch).item()
    assert loss == pytest.approx(total / batch.token_count, rel=1e-3, abs=1e-5)


def test_a_step_without_a_right_response_changes_nothing() -> None:
    made = of_schooled(method="sdpo", template=SHOWN, samples=3)
    state = initial_state(made)
    batch = step_batch(made, state, 0)
    texts_alone = [replace(text, solution=None) for text in batch.texts]
    alone = replace(batch, texts=texts_alone, micro_batches=with_teacher(made, texts_alone, 0))
    assert backward_of_step(made, state, alone).item() == 0
    assert all((weight.grad == 0).all() for weight in made.student.parameters())


def test_what_begins_every_text_stands_at_the_front_alone() -> None:
    tokenizer = words()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="word2 $A", special_tokens=[("word2", 2)]
    )
    pool = [Text("a", [2, 5, 6], [8, END]), Text("b", [2, 4], [3, END])]
    privileged = PrivilegedPrompts(
        "{example_prompt}{example_response} word21 {prompt}",
        "reference", pool, Encoder(tokenizer), [END], seed=0,
    )  # fmt: skip
    assert privileged.text(pool[0]).prompt_ids == [2, 5, 6, 8, 21, 5, 6]


def test_earlier_answers_of_a_chat_are_the_same_targets_behind_a_longer_prompt() -> None:
    chat = Text("a", [5, 6, 7, 8, 9], [10, END], earlier=((1, 3), (4, 5)))
    longer = prompts("word20 {example_response} {prompt}", pool=[chat]).text(chat)
    assert longer.prompt_ids == [20, 10, 5, 6, 7, 8, 9]
    assert longer.target_ids == chat.target_ids
    assert longer.earlier == ((3, 5), (6, 7))


def test_the_copy_s_distributions_are_those_of_each_token_behind_the_privileged_prompt() -> None:
    made = of_schooled()
    batch = collate(made.train_set[:5], CPU)
    assert isinstance(made.teacher, LiveTeacher)
    assert made.teacher.prompts is not None
    expected = [
        log_probs(made.student, made.teacher.prompts.text(text)) for text in made.train_set[:5]
    ]
    signal = made.teacher.signal(batch)
    # padded in a batch, or alone: sums in another order
    torch.testing.assert_close(signal.log_probs.double(), torch.cat(expected), rtol=0, atol=1e-5)
    assert signal.support.target.equal(batch.next_ids)
    parts = [made.teacher.distributions(batch).chunk(rows) for rows in (slice(0, 3), slice(3, 9))]
    torch.testing.assert_close(parts[1].log_probs, signal.log_probs[3:9])


@pytest.mark.parametrize("method", ["opsd", "sdft"])
def test_with_nothing_shown_the_loss_is_zero_at_the_start(method: str) -> None:
    nothing = of_schooled(method=method, template="{prompt}")
    assert abs(loss_of_first_step(nothing)) < 1e-7  # float32
    assert loss_of_first_step(of_schooled(method=method)) > 1e-3


def test_the_loss_is_the_divergence_from_oneself_who_is_shown_the_reference() -> None:
    made = of_schooled(loss="forward_kl", policy="fixed")
    state = initial_state(made)
    batch = step_batch(made, state, 0)
    loss = backward_of_step(made, state, batch).item()
    assert isinstance(made.teacher, LiveTeacher)
    assert made.teacher.prompts is not None
    total = 0.0
    for text in batch.texts:
        p, q = (
            log_probs(made.student, made.teacher.prompts.text(text)),
            log_probs(made.student, text),
        )
        total += (p.exp() * (p - q)).sum().item()
    assert loss == pytest.approx(total / batch.token_count, rel=1e-5)


def test_gradient_flows_through_the_student_alone() -> None:
    made = of_schooled()
    loss_of_first_step(made)
    assert isinstance(made.teacher, LiveTeacher)
    assert all(weight.grad is not None for weight in made.student.parameters())
    assert all(weight.grad is None for weight in made.teacher.model.parameters())


@pytest.mark.parametrize(("rate", "steps"), [(0.0, 3), (0.25, 2), (1.0, 3)])
def test_the_copy_follows_the_student_at_its_rate(rate: float, steps: int) -> None:
    made = of_schooled(student_rate=rate)
    assert isinstance(made.teacher, LiveTeacher)
    expected = weights(made.student)
    for step in train(made, initial_state(made)):
        pairs = zip(expected, weights(made.student), strict=True)
        expected = [(1 - rate) * mean + rate * weight for mean, weight in pairs]
        if step == steps:
            break
    for weight, mean in zip(weights(made.teacher.model), expected, strict=True):
        torch.testing.assert_close(weight, mean, rtol=0, atol=1e-6)
    moved = zip(weights(made.teacher.model), weights(made.student), strict=True)
    assert all(torch.equal(*pair) for pair in moved) == (rate == 1)


def test_a_student_comes_nearer_to_what_it_says_when_it_is_shown_the_reference() -> None:
    made = of_schooled()
    assert isinstance(made.teacher, LiveTeacher)
    batch = collate(made.train_set[:12], CPU)
    signal = made.teacher.signal(batch)

    def apart() -> float:
        with torch.no_grad():
            q = log_probs_on(response_logits(made.student, batch), signal.support)
        return (signal.log_probs.exp() * (signal.log_probs - q)).sum(-1).mean().item()

    before = apart()
    after(made, 8)
    assert apart() < 0.8 * before


def test_beside_adapters_the_copy_has_adapters_that_follow() -> None:
    made = run(Setup(row(method="sdft", student_rate=0.5)))
    student = llama(1)
    attach(student, Lora(rank=2, alpha=2.0, dropout=0.0), seed=0)
    encoder = Encoder(words())
    teacher, update = attach_update(made.settings, student, None, made.train_set, encoder, 60)
    assert isinstance(teacher, LiveTeacher)
    assert update is not None
    after(replace(made, student=student, teacher=teacher, teacher_update=update), 3)
    names = [name for name, weight in student.named_parameters() if weight.requires_grad]
    own, copied = student.state_dict(), teacher.model.state_dict()
    assert update.state_dict().keys() == set(names)
    assert all(not own[name].equal(copied[name]) for name in names)
    assert all(own[name].equal(copied[name]) for name in own.keys() - set(names))


@pytest.mark.parametrize("method", ["opsd", "sdft", "sdpo"])
def test_a_resumed_copy_is_where_it_was(method: str, tmp_path: Path) -> None:
    made, fresh = (run(Setup(row(method=method))) for _ in range(2))
    state = initial_state(made)
    for step in train(made, state):
        if step == 3:
            break
    checkpoint.save(tmp_path, made, state, "job")
    assert checkpoint.resume(tmp_path, fresh, initial_state(fresh), "job")
    assert isinstance(made.teacher, LiveTeacher)
    assert isinstance(fresh.teacher, LiveTeacher)
    pairs = zip(weights(made.teacher.model), weights(fresh.teacher.model), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert not torch.equal(weights(fresh.teacher.model)[0], weights(fresh.student)[0])


def test_what_the_copy_reads_counts_and_generation_is_the_student_s() -> None:
    made = of_schooled()
    state = initial_state(made)
    for step in train(made, state):
        if step == 2:
            break
    assert state.teacher_work.generated_tokens == 0 < state.student_work.generated_tokens
    assert state.teacher_work.positions > state.student_work.trained_positions


@pytest.mark.parametrize("loss", ["forward_kl", "adakd", "opd"])
@pytest.mark.parametrize("policy", ["fixed", {"name": "mixed", "student_share": 1.0}, "adaptive"])
def test_it_composes_with_losses_and_texts(loss: str, policy: Any) -> None:
    keys = {"loss": loss, "policy": policy, "update": "privileged_prompt"}
    if loss == "opd" and not isinstance(policy, dict):
        with pytest.raises(ValueError, match="policy gradient"):
            row(**keys)
        return
    assert row(**keys).method.teacher == "self"
    made = after(run(Setup(row(**keys), steps=2)), 2)
    assert all(weight.isfinite().all() for weight in made.student.parameters())


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"method": "opsd", "teacher": "live"}, ["teacher = 'live'", "leave it out"]),
        ({"method": "opsd", "policy": "switch"}, ["policy = 'switch'", "allowed"]),
        ({"method": "opsd", "loss": "cross_entropy"}, ["loss = 'cross_entropy'", "allowed"]),
        ({"method": "opsd", "template": "{example_response}"}, ["template", "{prompt} once"]),
        ({"method": "opsd", "template": "{prompt} {answer}"}, ["template", "{example_response}"]),
        ({"method": "opsd", "template": "{prompt"}, ["template", "expected '}'"]),
        ({"method": "opsd", "shows": "all"}, ["shows = 'all'", "'demonstration'"]),
        ({"method": "opsd", "shows": "solution"}, ["shows = 'solution'", "'reference'", "sdpo"]),
        ({"method": "sdpo", "shows": "reference"}, ["loss = 'sdpo'", "shows: solution"]),
        ({"method": "sdpo", "policy": "epoch_pairs"}, ["policy = 'epoch_pairs'", "sampled"]),
        ({"loss": "sdpo", "policy": "student_groups"}, ["loss = 'sdpo'", "shows: solution"]),
        ({"method": "opsd", "plain_text_kl": 0.5}, ["plain_text_kl", "allowed: 0"]),
    ],
)
def test_what_can_not_be_is_refused_by_its_key(tiny: Any, keys: Any, named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(tiny | {"methods": {"row": keys}, "grid": [{"seeds": [1]}]})
    (line,) = str(caught.value).splitlines()
    assert line.startswith("methods.row.")
    assert all(word in line for word in named), line


def test_a_self_taught_student_has_no_teacher_among_its_inputs(tiny: Any) -> None:
    rows = {"opsd": None, "own": {"method": "opsd", "text": "teacher"}, "gkd": None}
    grid = Grid(validate(tiny | {"methods": rows, "grid": [{"seeds": [1]}]}))
    opsd, own, gkd = (grid.student(name, "small", "large", 1) for name in rows)
    assert set(dict(opsd.inputs)) == {"start", "tokens"}
    assert opsd.name == "opsd.small.s1"
    assert set(dict(own.inputs)) == {"start", "tokens", "texts"}
    assert own.name == "own.small.large.s1"
    work, live = workload_of(grid, opsd), workload_of(grid, gkd)
    assert work.logit_bytes == live.logit_bytes
    assert work.operations > 0


def test_a_model_too_short_for_what_it_is_shown_is_refused_before_the_first_step(
    tmp_path: Path,
) -> None:
    files = replace(put_all(tmp_path), teacher=None)
    for words_shown, fits in ((1900, True), (2100, False)):  # a Llama has 2048 positions
        template = "word7 " * words_shown + "{prompt}"
        settings = run(Setup(row(method="opsd", template=template))).settings
        made = training_run.assemble(files, settings)
        assert made.teacher is not None
        if fits:
            check_positions(made, files.start, files.teacher)
            continue
        with pytest.raises(ValueError, match="shorten `template`"):
            check_positions(made, files.start, files.teacher)
