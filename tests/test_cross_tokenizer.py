"""A teacher of another vocabulary in an experiment: what is refused, made, read and compared."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tiny
from snaking import TINY, edited

from pipeline.artifacts import artifact, schemas
from pipeline.methods.catalogue import METHODS
from pipeline.settings.evaluation import EvaluationJob
from pipeline.stages.evaluator import Evaluator
from pipeline.stages.options import EvaluateOptions
from workflow.config.config_file import ConfigError
from workflow.config.validate import validate
from workflow.grid.grid import Grid

UNIGRAM = {"kind": "unigram", "vocabulary_size": 302}
FOREIGN = {"model": "wide", "tokenizer": UNIGRAM, "training": {"steps": 120}}
ABLE = {name: None for name, method in METHODS.items() if method.vocabulary_fault is None}


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
