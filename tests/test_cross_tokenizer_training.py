"""A student that learns from a teacher of another vocabulary, and is measured against it."""

import math
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from foreign_teachers import RESPONSES, Aligned, aligned_run, foreign_teacher, texts
from tokenizer_pairs import byte_level_bpe, unigram

from pipeline.data.batch import collate, token_context
from pipeline.distributions.log_probs import TokenContext
from pipeline.distributions.spans import Spans, Vocabularies, at_tokens
from pipeline.evaluation import over_bytes
from pipeline.feature_losses import BothModels, ModelView, Sizes, build_feature_loss
from pipeline.losses import build_loss
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.distill import MethodSettings
from pipeline.stages.align import aligned
from pipeline.tokenizer_alignment.alignment import AlignedText
from pipeline.tokenizer_alignment.spans import align
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.training.loop import student_layers, student_logits, train


def test_texts_that_are_the_same_are_aligned_and_others_counted() -> None:
    own, shared = texts(unigram), texts(byte_level_bpe)
    other = replace(own[0], response_ids=own[1].response_ids)
    rows, counts = aligned([other, *own[1:4]], shared, Aligned.teacher_bytes, Aligned.student_bytes)
    assert [row["example_id"] for row in rows] == ["text-1", "text-2", "text-3"]
    assert counts["other_bytes"] == counts["too_long_for_teacher"] == 1
    assert counts["aligned"] == 3
    assert counts["bytes"] == sum(len(text.encode()) for text in RESPONSES[1:4])
    assert counts["one_to_one_spans"] < counts["spans"] < counts["student_tokens"]


def test_shared_tokens_have_the_same_bytes_and_eos_is_eos() -> None:
    shared = Aligned().vocabularies.shared.tolist()
    pairs = [(mine, yours) for mine, yours in enumerate(shared) if yours >= 0]
    eos = (unigram().eos_token_id, byte_level_bpe().eos_token_id)
    assert eos in pairs
    assert len({yours for _, yours in pairs}) == len(pairs) > 100
    for mine, yours in (pair for pair in pairs if pair != eos):
        assert Aligned.teacher_bytes[mine] == Aligned.student_bytes[yours] != b""


@pytest.mark.parametrize(
    ("loss", "settings"),
    [("uld", {}), ("uld", {"aligned": True}), ("alm", {}), ("gold", {}), ("simct", {})],
)
def test_a_student_learns_from_a_teacher_of_another_vocabulary(
    loss: str, settings: dict[str, Any]
) -> None:
    shared = texts(byte_level_bpe)
    run = tiny.run(build_loss(loss, settings), steps=8)
    training = run.settings.training.model_copy(update={"batch_size": len(shared)})
    run = replace(
        run,
        settings=run.settings.model_copy(update={"training": training}),
        student=tiny.llama(seed=2, vocabulary=len(Aligned.student_bytes)),
        teacher=foreign_teacher(),
        train_set=shared,
    )
    state = tiny.plain_descent(run)
    list(train(run, state))
    losses = [row["loss_nats"] for row in state.rows]
    assert losses[-1] < losses[0]
    assert min(losses) >= 0


@pytest.mark.parametrize("features", ["dskd", "dskd_v2", "hidden_l2", "hidden_relations"])
def test_hidden_states_are_compared_where_both_vocabularies_have_one_token(features: str) -> None:
    method = resolve(METHODS["dskd_v2"], {}).settings | {
        "features": features,
        "feature_settings": {},
    }
    settings = MethodSettings.model_validate(method)
    run = aligned_run(settings, steps=8)
    assert run.features is not None
    batch = collate(run.train_set, torch.device("cpu"))
    signal = run.teacher.distributions(batch).chunk(slice(None))
    layers = student_layers(run, batch).detach().requires_grad_()
    tokens = token_context(batch, slice(None), signal.support, 0.0, {})
    term = run.features(layers, student_logits(run, layers[:, -1]), signal, tokens)
    assert signal.spans is not None
    _, single = signal.spans.single_tokens
    is_single = torch.zeros(len(term), dtype=torch.bool).index_fill(0, single, True)
    assert 0 < is_single.sum() < len(term)
    assert term[~is_single].abs().max() == 0
    term.sum().backward()
    assert layers.grad is not None
    assert layers.grad[~is_single].abs().max() == 0
    assert layers.grad[is_single].abs().max() > 0
    assert layers.grad.isfinite().all()

    run = aligned_run(settings, steps=8)  # without the gradients of the sum above
    state = tiny.plain_descent(run)
    list(train(run, state))
    assert state.rows[-1]["loss_nats"] < state.rows[0]["loss_nats"]


def test_a_text_without_a_token_that_both_have_shifts_no_other_text() -> None:
    tokens, draw = tiny.case().tokens({}), torch.Generator().manual_seed(5)
    every = torch.arange(len(tokens.target))
    spans = Spans(every, every, every, every, every, every, None, None)
    sides = [torch.randn(len(every), 1, 6, generator=draw) for _ in range(2)]
    loss, no_projectors = build_feature_loss("hidden_cka", {}), torch.nn.ModuleDict()

    def losses(rows: torch.Tensor, context: TokenContext) -> torch.Tensor:
        views = [ModelView(side[rows], side[rows, 0], torch.nn.Identity()) for side in sides]
        return loss(BothModels(no_projectors, *views, context))

    rows = every[tokens.sequence > 0]
    expected = losses(every, tokens)[rows]
    torch.testing.assert_close(losses(rows, at_tokens(tokens, rows, spans)), expected)


def test_texts_without_any_token_that_both_have_have_no_term() -> None:
    method = resolve(METHODS["dskd_v2"], {}).settings | {
        "features": "hidden_cka",
        "feature_settings": {},
    }
    run = aligned_run(MethodSettings.model_validate(method), steps=1)
    assert run.features is not None
    batch = collate(run.train_set, torch.device("cpu"))
    signal = run.teacher.distributions(batch).chunk(slice(None))
    assert signal.spans is not None
    twos = replace(signal.spans, student_first=signal.spans.student_last - 1)
    tokens = token_context(batch, slice(None), signal.support, 0.0, {})
    layers = student_layers(run, batch)
    logits = student_logits(run, layers[:, -1])
    term = run.features(layers, logits, replace(signal, spans=twos), tokens)
    assert term.equal(torch.zeros(batch.token_count))


@pytest.mark.parametrize("name", ["dskd", "dskd_v2"])
def test_a_column_that_pads_a_head_has_no_part_in_dskd(name: str) -> None:
    shared, values = Aligned().vocabularies, []
    draw = torch.Generator().manual_seed(4)
    sizes = (len(shared.student_begins_word), len(shared.shared))
    heads = [torch.randn(8, size + 5, generator=draw) for size in sizes]
    run = aligned_run(MethodSettings.model_validate(resolve(METHODS["alm"], {}).settings), steps=1)
    batch = collate(run.train_set, torch.device("cpu"))
    signal = run.teacher.distributions(batch).chunk(slice(None))
    assert signal.spans is not None
    _, rows = signal.spans.single_tokens
    every = token_context(batch, slice(None), signal.support, 0.0, {})
    tokens = at_tokens(every, rows, signal.spans)
    layers = [torch.randn(len(rows), 1, 8, generator=draw) for _ in heads]
    loss = build_feature_loss(name, {})
    projectors = loss.projectors(Sizes(8, 8, 1, *sizes), draw)
    for columns in (0, 5):
        views = [
            ModelView(
                each,
                each[:, -1] @ head[:, : size + columns],
                lambda hidden, head=head[:, : size + columns]: hidden @ head,
            )
            for each, head, size in zip(layers, heads, sizes, strict=True)
        ]
        values.append(loss(BothModels(projectors, *views, tokens)))
    torch.testing.assert_close(*values)


def test_measures_by_bytes_and_over_spans() -> None:
    student = tiny.llama(seed=2, vocabulary=len(Aligned.student_bytes))
    shared = texts(byte_level_bpe)
    records = over_bytes.measure(
        student, shared, Aligned.student_bytes, {"foreign": foreign_teacher()}, 10_000
    )
    rows = records.items.to_pylist()
    values = {(row["metric"], row["example_id"]): row["value"] for row in rows}
    for text, response in zip(shared, RESPONSES, strict=True):
        ids = torch.tensor([[*text.prompt_ids, *text.response_ids]])
        scored = student(ids).logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
        nll = -scored[len(text.prompt_ids) - 1 :].sum().item()
        per_byte = nll / math.log(2) / len(response.encode())
        assert values["bits_per_byte", text.example_id] == pytest.approx(per_byte, rel=1e-5)
        assert values["span_kl_nats_per_byte", text.example_id] > 0
        assert 0 <= values["span_top1_agreement", text.example_id] <= 1


def test_special_tokens_agree_where_a_text_has_them_in_the_same_place() -> None:
    shared, teacher = texts(byte_level_bpe), foreign_teacher()
    pairs = over_bytes.counterparts(shared, teacher, Aligned.student_bytes)
    eos = {text.response_ids[-1] for text in shared}
    assert {ours for _, ours in pairs} == eos
    assert all(teacher.alignment.teacher_bytes[theirs] == b"" for theirs, _ in pairs)

    theirs, ours = torch.tensor([1, 1, 0, 2, 1]), torch.tensor([0, 1, 0, 2, 2])
    vocabulary = [b"", b"", b"a"]  # the teacher's 1 and the student's 0 are EOS
    agree = over_bytes.agreement(theirs, ours, vocabulary, vocabulary, {(1, 0)})
    assert agree.tolist() == [1, 0, 0, 1, 0]


def test_a_model_is_nothing_apart_from_itself_over_spans() -> None:
    model = tiny.llama(seed=1, vocabulary=len(Aligned.teacher_bytes))
    own = Aligned()
    every = {
        text.example_id: AlignedText(text, align(cut, cut))
        for text in texts(unigram)
        if (cut := [Aligned.teacher_bytes[token] for token in text.response_ids])
    }
    own.__dict__["texts"] = every
    begins = own.vocabularies.teacher_begins_word
    own.__dict__["vocabularies"] = Vocabularies(torch.arange(len(begins)), begins, begins)
    teachers = {"itself": AlignedTeacher(LiveTeacher(model), own)}
    vocabulary = Aligned.teacher_bytes
    rows = over_bytes.measure(model, texts(unigram), vocabulary, teachers, 10_000).items.to_pylist()
    of = {row["metric"]: row["value"] for row in rows if row["example_id"] == "text-0"}
    assert of["span_kl_nats_per_byte"] == pytest.approx(0, abs=1e-9)
    assert of["span_top1_agreement"] == 1
