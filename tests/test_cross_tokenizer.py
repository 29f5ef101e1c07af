"""A teacher of another vocabulary: from the configuration to training and measures."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tiny
import torch
from snaking import TINY, edited
from tokenizer_pairs import byte_level_bpe, unigram

from pipeline.artifacts import artifact, schemas
from pipeline.data.batch import Text, collate, token_context
from pipeline.distributions.log_probs import TokenContext
from pipeline.distributions.spans import Spans, Vocabularies, at_tokens
from pipeline.evaluation import over_bytes
from pipeline.feature_losses import BothModels, ModelView, Sizes, build_feature_loss
from pipeline.losses import build_loss
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.distill import MethodSettings
from pipeline.settings.evaluation import EvaluationJob
from pipeline.stages.align import aligned
from pipeline.stages.evaluator import Evaluator
from pipeline.stages.options import EvaluateOptions
from pipeline.tokenizer_alignment.alignment import AlignedText, Alignment
from pipeline.tokenizer_alignment.spans import align
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.tokenizer_alignment.token_bytes import begins_word, shared_ids, token_bytes
from pipeline.training.features import feature_term
from pipeline.training.loop import student_layers, student_logits, train
from pipeline.training.state import TrainingRun
from workflow.config.config_file import ConfigError
from workflow.config.validate import validate
from workflow.grid.grid import Grid

UNIGRAM = {"kind": "unigram", "vocabulary_size": 302}
FOREIGN = {"model": "wide", "tokenizer": UNIGRAM, "training": {"steps": 120}}
ABLE = {name: None for name, method in METHODS.items() if method.vocabulary_fault is None}
RESPONSES = ["the sum of 2 arrays", "naïve 猫 🙂", "returns\n\n  capitalize", "a", "1234567 getpid"]


@pytest.fixture
def experiment(examples: Path) -> dict[str, Any]:
    """A tiny experiment with a teacher of the students' vocabulary, and one of another."""
    changes = {"teachers.foreign": FOREIGN, "methods": {"forward_kl": None} | ABLE}
    grid = [{"teachers": ["large"]}, {"teachers": ["foreign"], "methods": list(ABLE)}]
    return edited(TINY, {"data.examples.train": str(examples), **changes, "grid": grid})


def faults(config: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as raised:
        validate(config)
    return str(raised.value)


def test_methods_that_need_no_common_tokens_are_able() -> None:
    able = {"sft", "seqkd", "uld", "uld_aligned", "alm", "gold", "simct", "opd_spans"}
    assert able <= set(ABLE)
    assert not {"forward_kl", "gkd", "skd", "minillm"} & set(ABLE)


def test_a_method_that_needs_common_tokens_is_refused_and_those_that_can_are_named(
    experiment: dict[str, Any],
) -> None:
    config = edited(experiment, {"grid": [{"seeds": [1]}]})
    (fault,) = faults(config).splitlines()
    assert fault.startswith("methods.forward_kl: teacher foreign has a vocabulary of its own, and ")
    assert fault.endswith(f"allowed: {', '.join(ABLE)}")


def of_teachers(measure: str) -> dict[str, Any]:
    """A report that is asked for the difference of two teachers."""
    weights = {"teacher@foreign": 1, "teacher@large": -1}
    return {"contrasts": {"a": {"measures": [measure], "contrasts": {"b": weights}}}}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"teachers.foreign.tokenizer": "own"},
            "teachers.foreign.tokenizer = 'own': model wide is",
        ),
        ({"methods.alm": {"text": "teacher"}}, "methods.alm: .*; give the row `teacher: live`"),
        ({"methods.alm": {"policy": "switch"}}, "methods.alm: .* policy switch has it write"),
        ({"evaluation.tasks": ["heldout", "exposure"]}, "exposure: teacher foreign has a vocab"),
        (
            {"evaluation.tasks": ["heldout", "answers"], "evaluation.prompt_tokens": 60},
            "prompt_tokens = 60: teacher foreign counts tokens of a vocabulary of its own",
        ),
        ({"teacher_cache.k": 310}, "k = 310: teachers.foreign.tokenizer.vocabulary_size is only"),
        (
            {"report": of_teachers("heldout/nll_nats")},
            "report.contrasts.a.contrasts.b: heldout/nll_nats is a mean over tokens, and large, "
            "foreign have different vocabularies; allowed: heldout/bits_per_byte",
        ),
    ],
)
def test_what_such_a_teacher_cannot_is_refused(
    experiment: dict[str, Any], changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        validate(edited(experiment, changes))


def test_teachers_of_two_vocabularies_are_compared_by_bytes(experiment: dict[str, Any]) -> None:
    validate(edited(experiment, {"report": of_teachers("heldout/bits_per_byte")}))


def test_teacher_and_students_read_the_texts_in_tokens_of_their_own(
    experiment: dict[str, Any],
) -> None:
    grid = Grid(validate(experiment))
    student = grid.student("alm", "small", "foreign", 1)
    roles = dict(student.inputs)
    assert roles["tokens"] == grid.tokens()
    assert dict(roles["cache"].inputs)["tokens"] == grid.tokens("foreign") != grid.tokens()
    assert dict(roles["alignment"].inputs) == {
        "teacher_tokens": grid.tokens("foreign"),
        "tokens": grid.tokens(),
    }
    on_policy = dict(grid.student("opd_spans", "small", "foreign", 1).inputs)
    assert on_policy["teacher"] == grid.teacher("foreign")
    assert on_policy["alignment"] == roles["alignment"]
    assert "cache" not in on_policy
    text = dict(grid.student("seqkd", "small", "foreign", 1).inputs)["texts"]
    assert dict(text.inputs)["student_tokens"] == grid.tokens()
    teacher = grid.teacher("foreign")
    evaluated = dict(grid.evaluations[teacher].inputs)
    assert evaluated["tokens"] == grid.tokens("foreign")
    for evaluation in grid.evaluations.values():  # on the texts that both vocabularies have
        assert dict(evaluation.inputs)["alignment"] == grid.alignment("foreign")


def test_no_id_moves_without_such_a_teacher(experiment: dict[str, Any]) -> None:
    plain = edited(experiment, {"teachers": TINY["teachers"], "grid": [{"seeds": [1]}]})
    alone, both = Grid(validate(plain)), Grid(validate(experiment))
    for method in ("sft", "forward_kl", "uld", "opd_spans"):
        student = (method, "small", "large", 1)
        assert alone.student(*student) == both.student(*student)
    assert not any(each.stage == "alignments" for each in alone.artifacts.values())
    assert alone.alignment("large") is None


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


def test_a_checkpoint_is_evaluated_on_the_texts_that_every_vocabulary_has(tmp_path: Path) -> None:
    def write(folder: str, schema: pa.Schema, ids: list[str]) -> Path:
        columns = {name: [[0, 1]] * len(ids) for name in schema.names} | {"example_id": ids}
        (tmp_path / folder).mkdir()
        schemas.write(tmp_path / folder / "test.parquet", columns, schema)
        return tmp_path / folder

    tokens = write("tokens", schemas.TOKENS, ["a", "b", "c", "d"])
    alignments = tuple(
        write(teacher, schemas.ALIGNMENTS, ids)
        for teacher, ids in (("first", ["d", "b", "c"]), ("second", ["a", "b", "d"]))
    )
    options = EvaluateOptions(
        job=artifact.Job("evals", "x", {}),
        out=tmp_path / "out",
        model=tmp_path,
        data=tmp_path,
        tokens=tokens,
        state=tmp_path,
        alignment=alignments,
    )
    evaluator = Evaluator(options, EvaluationJob(tasks=[], items=None, seed=0), tiny.llama(1), {})
    assert [text.example_id for text in evaluator.test_texts] == ["b", "d"]


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
