"""What a top-K support costs a loss: how it is measured, and when the report warns of it."""

from pathlib import Path

import pytest
import synthetic
import tiny

from benchmarks.sparse_support import (
    LOSSES,
    NEEDS_WHOLE_VOCABULARY,
    Row,
    Subjects,
    markdown,
    measure,
)
from pipeline.artifacts.artifact import Job
from pipeline.methods import components
from pipeline.methods.method import Method
from pipeline.reporting.analysis import top_k_bias
from pipeline.reporting.analysis.load import read_grid, read_inputs
from pipeline.settings.report import ReportSettings
from pipeline.stages import report

LOWERED = [name for name in LOSSES if components.on_sparse_support(name) == "lower"]
SUPPORTS = (2, 8, 32, tiny.VOCABULARY)
MEASURED = {"safe": {8: 0.2, 64: 0.01}, "unsafe": {8: 0.9, 64: 0.0626}}
EXPERIMENT = synthetic.Experiment(
    teachers=("large",),
    students=("small",),
    methods=("sft", "forward_kl", "jsd"),
    seeds=(1,),
    items=6,
    steps=8,
)


def method(loss: str, teacher: str = "cache", draws: int | None = None) -> Method:
    return Method("", loss, source="", evidence="code", teacher=teacher, draws=draws)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return measure(Subjects(tiny.llama(1), tiny.llama(2), tiny.texts(), 40), SUPPORTS)


def test_a_support_of_the_whole_vocabulary_has_no_error(rows: list[Row]) -> None:
    whole = [row for row in rows if row.k == tiny.VOCABULARY]
    for row in whole:
        if row.loss not in NEEDS_WHOLE_VOCABULARY:
            # sums in another order, in float32
            assert row.mean_abs_error_nats == pytest.approx(0, abs=1e-5 * max(1, row.dense_nats))
            assert row.relative_error < 1e-5


def test_the_error_of_an_f_divergence_shrinks_with_k_and_lowers_it(rows: list[Row]) -> None:
    for name in LOWERED:
        own = [row for row in rows if row.loss == name]
        sizes = [row.mean_abs_error_nats for row in own]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > 10 * sizes[-1]
        assert all(row.mean_error_nats <= 1e-5 for row in own)


def test_a_loss_of_the_next_token_alone_has_no_error_anywhere(rows: list[Row]) -> None:
    own = [row for row in rows if components.on_sparse_support(row.loss) == "equal"]
    assert own
    assert all(row.mean_abs_error_nats < 1e-5 for row in own)


def test_a_loss_that_refuses_a_support_is_shown_as_dense_only(rows: list[Row]) -> None:
    lines = markdown(rows).splitlines()
    refusing = [line for line in lines if line.split("|")[1].strip() in NEEDS_WHOLE_VOCABULARY]
    assert len(refusing) == len(NEEDS_WHOLE_VOCABULARY)
    assert {line.count("dense only") for line in refusing} == {len(SUPPORTS)}
    assert sum("dense only" in line for line in lines) == len(NEEDS_WHOLE_VOCABULARY)


def test_micro_batches_change_no_error(rows: list[Row]) -> None:
    at_once = measure(Subjects(tiny.llama(1), tiny.llama(2), tiny.texts(), 10_000), SUPPORTS[:2])
    cut = [row for row in rows if row.k in SUPPORTS[:2]]
    for row, other in zip(cut, at_once, strict=True):
        assert (row.loss, row.k) == (other.loss, other.k)
        if row.loss not in NEEDS_WHOLE_VOCABULARY:
            # sums in another order, in float32
            assert row.mean_error_nats == pytest.approx(other.mean_error_nats, rel=1e-4, abs=1e-5)


def test_only_methods_beyond_the_bound_on_a_cache_are_warned_of() -> None:
    methods = {
        "one": method("unsafe"),
        "two": method("safe"),
        "three": method("unsafe", teacher="live"),
        "four": method("unsafe", draws=50),
    }
    (line,) = top_k_bias.warnings(methods, 100, MEASURED)
    assert "teacher's 100 most likely tokens" in line
    assert "more than 5 %" in line
    assert ": one by 6 % (K = 64). " in line


def test_a_smaller_cache_is_judged_by_the_next_smaller_support_that_was_measured() -> None:
    (line,) = top_k_bias.warnings({"two": method("safe")}, 63, MEASURED)
    assert ": two by 20 % (K = 8). " in line
    assert not top_k_bias.warnings({"two": method("safe")}, 64, MEASURED)


@pytest.mark.parametrize(("loss", "k"), [("safe", 7), ("new", 64)])
def test_what_was_not_measured_is_said_to_be_so(loss: str, k: int) -> None:
    (line,) = top_k_bias.warnings({"two": method(loss)}, k, MEASURED)
    assert line.endswith("was not measured.")
    assert "two" in line


@pytest.mark.slow
def test_the_report_warns_of_the_worst_loss_of_the_table_and_not_of_cross_entropy(
    tmp_path: Path,
) -> None:
    measured = top_k_bias.measured_errors()
    worst = max(measured, key=lambda name: measured[name][8])
    settings = synthetic.settings(EXPERIMENT)
    settings["methods"]["jsd"]["loss"] = worst
    settings["methods"]["forward_kl"]["loss"] = "cross_entropy"
    settings["config"]["teacher_cache"] = {"k": 8}

    inputs = read_inputs(
        tmp_path, read_grid(synthetic.write(tmp_path, EXPERIMENT)), "docs-00000001"
    )
    job, valid = Job("demo", "0011", settings), ReportSettings.model_validate(settings)
    (tmp_path / "report").mkdir()
    report.write_report(tmp_path / "report", job, valid, inputs)
    page = (tmp_path / "report" / "index.html").read_text()
    limits = page.partition('id="limits"')[2].partition("</section>")[0]
    assert (
        f"their value on the whole vocabulary: jsd by {100 * measured[worst][8]:.0f} % (K = 8). "
        in limits
    )
    assert "forward_kl by" not in limits


def test_the_table_in_the_package_is_the_documented_one() -> None:
    documented = Path(__file__).parent.parent / "docs" / "sparse_support" / "demo.csv"
    assert top_k_bias.TABLE.read_text() == documented.read_text()
