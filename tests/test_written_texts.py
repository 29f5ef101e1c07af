"""Texts that a student writes in training, as a teacher of another vocabulary reads them."""

from dataclasses import replace
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from foreign_teachers import Aligned, foreign_teacher, texts
from tokenizer_pairs import byte_level_bpe, hard_texts, unigram

from pipeline.data.batch import Text
from pipeline.data.encoding import Encoder
from pipeline.data.examples import Piece
from pipeline.data_policies import mixed
from pipeline.distributions import divergences
from pipeline.distributions.spans import Spans
from pipeline.losses import build_loss, opd, opd_spans
from pipeline.methods.catalogue import METHODS
from pipeline.methods.composition import compose
from pipeline.runtime.diverged import Diverged
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.tokenizer_alignment.token_bytes import token_bytes
from pipeline.tokenizer_alignment.written import WrittenTexts, written_texts
from pipeline.training import checkpoint
from pipeline.training.compile import trial_batch
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, TrainingState, initial_state

EOS = byte_level_bpe().eos_token_id


def written(most_positions: int | None = None) -> WrittenTexts:
    return WrittenTexts(Aligned(), unigram(), unigram().eos_token_id, most_positions)


def by_student(ids: list[int], ended: bool = True) -> Text:
    """A text of the student's in response to the first prompt."""
    prompt, log_probs = texts(byte_level_bpe)[0].prompt_ids, [-1.0] * len(ids)
    return Text("text-0", prompt, ids, "student", ended=ended, log_probs=log_probs)


def ids_of(text: str) -> list[int]:
    return Encoder(byte_level_bpe()).alone([Piece(text, False)])


def test_gold_texts_are_read_as_the_alignment_has_them() -> None:
    stored, reading = Aligned(), written()
    for text in texts(byte_level_bpe):
        aligned = reading.aligned(replace(text, author="student"))
        assert aligned is not None
        assert aligned.ends == stored.texts[text.example_id].ends
        assert aligned.teacher.response_ids == stored.texts[text.example_id].teacher.response_ids
        assert aligned.teacher.prompt_ids == stored.texts[text.example_id].teacher.prompt_ids


@pytest.mark.parametrize("has_ended", [True, False])
def test_any_text_keeps_its_bytes_and_ends_where_it_ended(has_ended: bool) -> None:
    reading, own_bytes = written(), token_bytes(unigram())
    for text in hard_texts(60):
        aligned = reading.aligned(by_student([*ids_of(text), *[EOS] * has_ended], has_ended))
        assert aligned is not None
        own = aligned.teacher.response_ids
        assert b"".join(own_bytes[token] for token in own) == text.encode()
        assert (own[-1] == unigram().eos_token_id) == has_ended


@pytest.mark.parametrize(
    ("ids", "most_positions"),
    [
        (ids_of("naïve🙂")[:-1], None),  # half a character
        ([*ids_of("🙂")[:-1], *ids_of(" of")], None),  # the same amid the text
        ([*ids_of("the sum"), EOS, *ids_of("of"), EOS], None),  # an end amid the text
        ([*ids_of("the sum"), len(Aligned.student_bytes)], None),  # no token of the vocabulary
        (ids_of("the sum of two arrays"), 4),  # more positions than the teacher has
    ],
)
def test_what_the_teacher_cannot_read_is_left_out(
    ids: list[int], most_positions: int | None
) -> None:
    teacher = AlignedTeacher(foreign_teacher().teacher, Aligned(), written(most_positions))
    good = by_student([*ids_of("a"), EOS]) if most_positions is None else None
    batch = [by_student(ids, ended=ids[-1] == EOS), *([good] if good else [])]
    assert teacher.readable(batch) == ([good] if good else [])


def test_a_text_that_was_cut_is_read_up_to_its_last_word() -> None:
    reading, cut = written(), ids_of("the sum of two arr")
    whole = reading.whole_words(by_student(cut, ended=False))
    bytes_of = Aligned.student_bytes
    assert b"".join(bytes_of[token] for token in whole.response_ids) == b"the sum of two"
    assert len(whole.log_probs) == len(whole.response_ids)
    assert reading.whole_words(by_student([*cut, EOS])) == by_student([*cut, EOS])
    alone = by_student(ids_of("capitalize"), ended=False)
    assert reading.whole_words(alone) == alone


@cache
def schooled() -> Any:
    """A student that has learnt to write most of its characters whole."""
    student = tiny.llama(seed=2, vocabulary=len(Aligned.student_bytes))
    student.generation_config.eos_token_id = student.config.eos_token_id = EOS
    run = replace(tiny.run(build_loss("cross_entropy", {}), steps=30), student=student)
    run = replace(run, train_set=texts(byte_level_bpe), teacher=None)
    state = tiny.plain_descent(run)
    state.optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    training = run.settings.training.model_copy(update={"learning_rate": 1e-2})
    run = replace(run, settings=run.settings.model_copy(update={"training": training}))
    list(train(run, state))
    return student


def on_policy(loss: str, settings: dict[str, Any], share: float) -> TrainingRun:
    """A run on text of the student's, of which a teacher of another vocabulary can't read all."""
    run = tiny.run(build_loss(loss, settings), steps=6)
    training = run.settings.training.model_copy(update={"learning_rate": 1e-3, "batch_size": 5})
    student = tiny.llama(seed=2, vocabulary=len(Aligned.student_bytes))
    student.load_state_dict(schooled().state_dict())
    student.generation_config.eos_token_id = student.config.eos_token_id = EOS
    return replace(
        run,
        settings=run.settings.model_copy(update={"training": training, "max_new_tokens": 9}),
        student=student,
        teacher=replace(foreign_teacher(), written=written()),
        policy=mixed.Policy(student_share=share),
        train_set=texts(byte_level_bpe),
    )


SUBJECTS = [
    ("alm", {}, 0.5),
    ("uld", {"aligned": True}, 1.0),
    ("opd_spans", {}, 1.0),
    ("opd_spans", {"whole_span": True}, 1.0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "settings", "share"), SUBJECTS)
def test_a_student_trains_on_its_own_text_and_a_killed_run_ends_with_the_same_bits(
    loss: str, settings: dict[str, Any], share: float, tmp_path: Path
) -> None:
    whole = on_policy(loss, settings, share)
    state = initial_state(whole)
    list(train(whole, state))
    left_out = [row["unaligned_texts"] for row in state.rows]
    assert sum(left_out) < 5 * len(left_out)
    assert sum(row["generated_tokens"] for row in state.rows) > 0
    for row in state.rows:
        assert (row["gradient_norm"] > 0) == (row["response_tokens"] > 0)

    killed = on_policy(loss, settings, share)
    halfway = initial_state(killed)
    list(islice(train(killed, halfway), 3))
    checkpoint.save(tmp_path, killed, halfway, "job")
    resumed = on_policy(loss, settings, share)
    again = initial_state(resumed)
    assert checkpoint.resume(tmp_path, resumed, again, "job")
    list(train(resumed, again))
    assert [row["unaligned_texts"] for row in again.rows] == left_out
    for mine, theirs in zip(resumed.student.parameters(), whole.student.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_step_counts_what_it_leaves_out() -> None:
    bad = [by_student(ids_of("🙂")[:count], ended=False) for count in (1, 2)]
    run = replace(on_policy("alm", {}, 0.0), train_set=[*texts(byte_level_bpe)[:3], *bad])
    state = initial_state(run)
    list(islice(train(run, state), 3))
    assert {row["unaligned_texts"] for row in state.rows} == {2}
    kept = sum(text.target_count for text in texts(byte_level_bpe)[:3])
    assert {row["response_tokens"] for row in state.rows} == {kept}


def test_the_trial_of_a_compiler_leaves_out_the_same_texts() -> None:
    bad = by_student(ids_of("🙂")[:1], ended=False)
    good = texts(byte_level_bpe)[:3]
    batch = trial_batch(replace(on_policy("alm", {}, 0.0), train_set=[bad, *good]))
    assert [text.response_ids for text in batch.texts] == [text.response_ids for text in good]


def test_a_step_without_a_text_that_can_be_read_changes_nothing() -> None:
    run = on_policy("opd_spans", {}, 1.0)
    run = replace(run, teacher=replace(run.teacher, written=written(most_positions=2)))
    before = [weight.clone() for weight in run.student.parameters()]
    state = TrainingState(torch.optim.SGD(run.student.parameters(), lr=1.0))
    list(islice(train(run, state), 2))
    assert [row["unaligned_texts"] for row in state.rows[:1]] == [5]
    for mine, theirs in zip(run.student.parameters(), before, strict=True):
        assert torch.equal(mine, theirs)


def test_a_broken_teacher_of_another_vocabulary_is_told_from_a_student_that_diverges() -> None:
    run = on_policy("alm", {}, 0.5)
    with torch.no_grad():
        run.teacher.teacher.model.get_output_embeddings().weight[3] = float("nan")
    with pytest.raises(ValueError, match="the teacher is broken, not the student") as error:
        list(train(run, initial_state(run)))
    assert not isinstance(error.value, Diverged)


# the policy gradient


def test_over_spans_of_one_token_it_is_the_ordinary_policy_gradient() -> None:
    case = tiny.case()
    p, q = case.teacher.log_softmax(-1), case.student.log_softmax(-1)
    ordinary = opd.Loss()(p, q, case.tokens({}))
    for whole_span in (False, True):
        over_spans = tiny.losses(opd_spans.Loss(whole_span), p, q, case.tokens({}))
        torch.testing.assert_close(over_spans, ordinary)


def test_a_whole_span_s_reward_descends_reverse_kl_over_spans_in_expectation() -> None:
    # two tokens of the student's, of three each, are one of nine of the teacher's
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    p = torch.randn(1, 9, generator=draw, dtype=torch.float64).log_softmax(-1)
    first, behind = logits[0].log_softmax(-1), logits[1:].log_softmax(-1)  # behind each first one
    over_pairs = (first[:, None] + behind).flatten()[None]
    (exact,) = torch.autograd.grad(divergences.kl(over_pairs, p).sum(), logits, retain_graph=True)

    def estimate(whole_span: bool) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for mine, next_one in product(range(3), range(3)):
            q = torch.stack([first, behind[mine]])
            target = torch.tensor([mine, next_one])
            sampled = q.detach().gather(-1, target[:, None])[:, 0]
            zeros, zero = torch.zeros(2, dtype=torch.long), torch.zeros(1, dtype=torch.long)
            spans = Spans(zero, zeros, zero, zero, zero + 1, zero + 3 * mine + next_one, None, None)
            tokens = replace(tiny.one_text(target, sampled), spans=spans)
            total += sampled.sum().exp() * opd_spans.Loss(whole_span)(p, q, tokens).sum()
        (gradient,) = torch.autograd.grad(total, logits, retain_graph=True)
        return gradient

    torch.testing.assert_close(estimate(whole_span=True), exact)
    assert (estimate(whole_span=False) - exact).abs().max() > 0.01


# what is refused


def test_text_that_both_would_write_is_refused_with_the_reason() -> None:
    for policy in ("speculative", "switch", "teacher_mixed"):
        mixed_text = compose(METHODS["alm"], {"data_policies": policy})
        assert f"policy {policy} has it write tokens" in (mixed_text.vocabulary_fault or "")
    for policy in ("fixed", "mixed", "adaptive"):
        assert compose(METHODS["alm"], {"data_policies": policy}).vocabulary_fault is None
    assert METHODS["opd_spans"].vocabulary_fault is None
    for name in ("skd", "switch", "minillm", "opd", "gkd"):
        assert METHODS[name].vocabulary_fault is not None


def test_another_teacher_s_alignment_is_refused(tmp_path: Path) -> None:
    byte_level_bpe().save_pretrained(tmp_path / "model")
    alignment = Aligned()
    alignment.__dict__["folder"] = Path("alignment")
    with pytest.raises(ValueError, match=r"^alignment is of another vocabulary than that of"):
        written_texts(alignment, tmp_path, tmp_path, tiny.llama(seed=0).config)
