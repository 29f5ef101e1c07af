"""Laws of the losses over spans, between vocabularies of different sizes."""

from dataclasses import replace
from types import SimpleNamespace

import mutations
import numpy as np
import pytest
import reference_cases
import span_references
import torch
from span_cases import SPANS, STUDENT, TEACHER, Case, case, one_vocabulary, tokens_of, value
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.distributions.log_probs import top_k
from pipeline.distributions.spans import Spans, Vocabularies
from pipeline.losses import build_loss, simct
from pipeline.methods import components
from pipeline.tokenizer_alignment.alignment import AlignedText
from pipeline.tokenizer_alignment.spans import SpanEnds

SUBJECTS = [
    (name, settings)
    for name in components.names("losses")
    if components.class_constant("losses", name, "over_spans", False)
    for settings in ({}, *reference_cases.VARIANTS.get(name, []))
]
BY_INDEX = ("uld", {})  # pairs positions as published, as far as the shorter text goes
over_spans = pytest.mark.parametrize(("name", "settings"), SUBJECTS)


@over_spans
def test_it_is_what_the_formula_gives(name: str, settings: dict) -> None:
    batch = case()
    signal = batch.signal()
    known = components.hyperparameters("losses", name)
    h = SimpleNamespace(**{key: field.default for key, field in known.items()} | settings)
    p, q = signal.log_probs.exp().numpy(), batch.student.softmax(-1).numpy()
    expected = vars(span_references)[name](p, q, tokens_of(batch, signal), h)
    np.testing.assert_allclose(value(name, settings, batch).numpy(), expected, rtol=1e-9, atol=1e-9)
    assert np.abs(expected).sum() > 1e-3


@over_spans
def test_the_order_of_either_vocabulary_means_nothing(name: str, settings: dict) -> None:
    batch = case()
    draw = torch.Generator().manual_seed(7)
    mine, yours = (torch.randperm(size, generator=draw) for size in (TEACHER, STUDENT))
    to_mine, to_yours = mine.argsort(), yours.argsort()
    v = batch.vocabularies
    shared = torch.where(v.shared >= 0, to_yours[v.shared.clamp(min=0)], -1)[mine]
    permuted = Case(
        [replace(text, teacher=renamed(text.teacher, to_mine)) for text in batch.texts],
        [renamed(text, to_yours) for text in batch.student_texts],
        batch.teacher[:, mine],
        batch.student[:, yours],
        Vocabularies(shared, v.teacher_begins_word[mine], v.student_begins_word[yours]),
    )
    torch.testing.assert_close(value(name, settings, permuted), value(name, settings, batch))


def renamed(text: Text, to: Tensor) -> Text:
    return replace(text, response_ids=to[torch.tensor(text.response_ids)].tolist())


@over_spans
def test_a_shift_by_one_is_noticed(name: str, settings: dict) -> None:
    batch = case()
    for shifted in (
        replace(batch, teacher=batch.teacher.roll(1, 0)),
        replace(batch, student=batch.student.roll(1, 0)),
    ):
        apart = value(name, settings, shifted) - value(name, settings, batch)
        assert apart.abs().sum() > 1e-3


@over_spans
def test_the_end_of_a_text_is_learnt(name: str, settings: dict) -> None:
    batch = case()
    logits = batch.student.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(
        value(name, settings, replace(batch, student=logits)).sum(), logits
    )
    lengths = [text.target_count for text in batch.student_texts]
    last = np.cumsum(lengths) - 1
    learnt = gradient[last].abs().sum(-1) > 0
    in_reach = [
        student <= text.teacher.target_count
        for student, text in zip(lengths, batch.texts, strict=True)
    ]
    assert learnt.tolist() == (in_reach if (name, settings) == BY_INDEX else [True] * len(lengths))
    assert not all(in_reach)
    assert gradient.isfinite().all()


@over_spans
def test_nothing_depends_on_which_texts_share_a_batch(name: str, settings: dict) -> None:
    batch, alone, mine, yours = case(), [], 0, 0
    for text, student_text in zip(batch.texts, batch.student_texts, strict=True):
        to_mine, to_yours = mine + text.teacher.target_count, yours + student_text.target_count
        part = replace(
            batch,
            texts=[text],
            student_texts=[student_text],
            teacher=batch.teacher[mine:to_mine],
            student=batch.student[yours:to_yours],
        )
        alone.append(value(name, settings, part))
        mine, yours = to_mine, to_yours
    torch.testing.assert_close(
        torch.cat(alone), value(name, settings, batch), rtol=1e-12, atol=1e-12
    )


def as_conversation(batch: Case) -> Case:
    """The texts of a case as the answers of one conversation, all but the last in its prompt."""
    ends = (
        np.cumsum(np.concatenate([np.diff(own, prepend=0) for own in side])).tolist()
        for side in zip(
            *((text.ends.teacher, text.ends.student) for text in batch.texts), strict=True
        )
    )
    teacher = in_one_text([text.teacher for text in batch.texts])
    aligned = AlignedText(teacher, SpanEnds(*ends))
    return replace(batch, texts=[aligned], student_texts=[in_one_text(batch.student_texts)])


def in_one_text(texts: list[Text]) -> Text:
    """The responses of some texts as the answers of one, with a user's turn before each."""
    *before, last = texts
    prompt, earlier = [0], []
    for text in before:
        earlier.append((len(prompt), len(prompt) + len(text.response_ids)))
        prompt += [*text.response_ids, 0]
    return Text("conversation", prompt, last.response_ids, earlier=tuple(earlier))


@over_spans
def test_each_answer_of_a_conversation_counts_as_a_text_of_its_own(
    name: str, settings: dict
) -> None:
    values = []
    for batch in (case(), as_conversation(case())):
        signal, student = batch.signal(), batch.student.log_softmax(-1)
        tokens = replace(tokens_of(batch, signal), sampled_log_probs=student[:, 0])
        values.append(build_loss(name, settings)(signal.log_probs, student, tokens))
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)


@over_spans
def test_columns_that_pad_a_head_take_no_part(name: str, settings: dict) -> None:
    batch = case()
    padded = replace(
        batch,
        teacher=torch.nn.functional.pad(batch.teacher, (0, 3), value=4.0),
        student=torch.nn.functional.pad(batch.student, (0, 2), value=4.0),
    )
    torch.testing.assert_close(value(name, settings, padded), value(name, settings, batch))


@over_spans
def test_a_part_of_a_batch_has_the_spans_of_its_texts(name: str, settings: dict) -> None:
    batch = case()
    first = batch.student_texts[0].target_count
    part = batch.signal(slice(first, None))
    rest = replace(batch, student_texts=batch.student_texts[1:], student=batch.student[first:])
    torch.testing.assert_close(
        value(name, settings, rest, part), value(name, settings, batch)[first:]
    )


@over_spans
def test_on_a_support_of_all_tokens_it_is_the_dense_value(name: str, settings: dict) -> None:
    batch = case()
    if components.on_sparse_support(name) == "refused":
        pytest.skip("its method's cache must have the whole vocabulary")
    ids = torch.tensor([token for text in batch.texts for token in text.teacher.response_ids])
    sparse = batch.aligned(top_k(batch.teacher, ids, TEACHER)).chunk(slice(None))
    torch.testing.assert_close(
        value(name, settings, batch, sparse), value(name, settings, batch), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [each for each in SUBJECTS if components.on_sparse_support(each[0]) == "lower"],
)
def test_on_a_smaller_support_it_is_at_most_the_dense_value(name: str, settings: dict) -> None:
    batch = case()
    ids = torch.tensor([token for text in batch.texts for token in text.teacher.response_ids])
    for k in (3, 6, 10):
        sparse = batch.aligned(top_k(batch.teacher, ids, k)).chunk(slice(None))
        assert (value(name, settings, batch, sparse) <= value(name, settings, batch) + 1e-6).all()


@pytest.mark.parametrize(
    ("name", "settings", "ordinary", "factor"),
    [
        ("gold", {}, "jsd", 1),
        ("gold", {"teacher_weight": 0.2}, "jsd", 1),
        ("simct", {}, "reverse_kl", 1 - simct.EPSILON),
        ("uld", {"aligned": True}, "uld", 1),
    ],
)
def test_with_one_vocabulary_it_is_the_ordinary_form(
    name: str, settings: dict, ordinary: str, factor: float
) -> None:
    batch = one_vocabulary()
    signal = batch.signal()
    tokens = tokens_of(batch, signal)
    of_ordinary = {key: setting for key, setting in settings.items() if key != "aligned"}
    expected = build_loss(ordinary, of_ordinary)(
        signal.log_probs, batch.student.log_softmax(-1), tokens
    )
    torch.testing.assert_close(value(name, settings, batch), factor * expected)


@pytest.mark.parametrize(
    ("name", "pattern", "fault"),
    [
        ("gold", r"spans\.merged_teacher\(teacher\)", "teacher[spans.teacher_last]"),
        ("gold", r"spans\.merged_teacher\(teacher\)", "teacher[spans.teacher_first]"),
        ("gold", r"spans\.merged_student\(.*?\)", "student[spans.student_last]"),
        ("gold", r"shared < 0", "shared >= 0"),
        ("gold", r"share \* matched", "matched"),
        ("simct", r"spans\.teacher_first", "spans.teacher_last"),
        ("simct", r"spans\.student_first", "spans.student_last"),
        ("simct", r" & ~begins", ""),
        ("simct", r"tokens\.target\b", "tokens.target.roll(1)"),
        ("alm", r"_behind\(_teacher_mass", "_behind(0 * _teacher_mass"),
        ("uld", r"spans\.student_first", "spans.student_last"),
    ],
)
def test_a_fault_in_what_is_made_of_spans_is_noticed(name: str, pattern: str, fault: str) -> None:
    batch, signal = case(), case().signal()
    student, tokens = batch.student.log_softmax(-1), tokens_of(batch, signal)
    faulty = mutations.from_source(name, pattern, fault)
    assert faulty
    for settings in (
        ({}, *reference_cases.VARIANTS[name]) if name in reference_cases.VARIANTS else ({},)
    ):
        wrong = faulty.build(settings)(signal.log_probs, student, tokens)
        if not torch.allclose(wrong, value(name, settings, batch), rtol=1e-6, atol=1e-6):
            return
    pytest.fail("no value differs")


def test_sums_and_places_of_spans() -> None:
    spans = case().signal().spans
    assert isinstance(spans, Spans)
    assert spans.student_sums(torch.ones(len(spans.of_student))).tolist() == [
        student for text in SPANS for _, student in text
    ]
    at_last = spans.at_last_tokens(torch.arange(1.0, 1 + len(spans.student_last)))
    assert at_last[spans.student_last].tolist() == list(range(1, 1 + len(spans.student_last)))
    assert (at_last != 0).sum() == len(spans.student_last)
