"""What the copy of a student reads: a prompt made of what it is shown and what is asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from players import CPU, END, Setup, log_probs, run, texts, words
from self_teaching import of_schooled, row
from shelf import put_all
from tokenizers.processors import TemplateProcessing

from pipeline.data.batch import Text, collate
from pipeline.data.encoding import Encoder
from pipeline.data.privileged_prompts import PrivilegedPrompts
from pipeline.models.teacher import LiveTeacher
from pipeline.stages import training_run
from pipeline.training.run_checks import check_positions
from workflow.config.validate import ConfigError, validate
from workflow.grid.grid import Grid
from workflow.resources.estimates import workload_of


def prompts(template: str, shows: Any = "reference", pool: list[Text] | None = None):
    return PrivilegedPrompts(template, shows, pool or texts(9), Encoder(words()), [END], seed=3)


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
