"""The acceptance run of a GPU, in small on a CPU: its checks, its limits, its table."""

import json
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from snaking import ROOT
from stage_commands import LONG

from benchmarks.gpu_check import figures
from benchmarks.gpu_check.figures import Figure, Outcome, short
from benchmarks.gpu_check.run import CHECKS, Plan, outcomes, run_check
from benchmarks.results import result_file

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gpu_check")]

ONLY_ON_A_GPU = {"waits", "memory"}


def checked(out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--device", "cpu", "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_check_passes_in_small_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = checked(out)
    assert done.returncode == 0, done.stdout + done.stderr + out.read_text()
    told = json.loads(out.read_text())
    assert [check["check"] for check in told["checks"]] == list(CHECKS)
    for outcome in told["checks"]:
        expected = "skipped" if outcome["check"] in ONLY_ON_A_GPU else "ok"
        assert outcome["status"] == expected, outcome
        assert f"| {outcome['check']} |" in done.stdout
    assert {"torch", "transformers", "device", "C compiler"} <= set(told["machine"])


def test_a_result_that_could_not_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    done = checked(tmp_path)
    assert done.returncode == 2
    assert f"argument --out: {tmp_path} is a folder" in done.stderr
    assert done.stdout == ""
    with pytest.raises(ArgumentTypeError, match="there is no folder"):
        result_file(str(tmp_path / "missing/result.json"))


def test_a_check_that_is_too_slow_is_ended_and_said_to_be_so() -> None:
    outcome = run_check("methods", "methods", "cpu", seconds=0.5)
    assert outcome.status == "timed out"
    assert not outcome.passed


def test_a_check_that_there_is_no_time_for_has_not_passed() -> None:
    (outcome,) = outcomes(Plan("cpu", ("logits",), seconds=0))
    assert outcome.status == "not run"
    assert not outcome.passed


def test_a_check_that_fails_costs_itself_alone() -> None:
    outcome = run_check("machine", "machine", "no_such_device", seconds=LONG)
    assert outcome.status == "failed"
    assert "no_such_device" in outcome.log
    assert "exit status" in outcome.reason


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("speed", 10.0, at_least=9), "pass"),
        (Figure("speed", 10.0, at_least=11), "FAIL"),
        (Figure("error", 0.1, at_most=0.1), "pass"),
        (Figure("error", float("nan"), at_most=0.1), "FAIL"),
        (Figure("ratio", 1.1, at_least=0.6, at_most=1.0), "FAIL"),
        (Figure("dtype", "torch.float32", equals="torch.float32"), "pass"),
        (Figure("seconds", 3.0), "-"),
    ],
)
def test_a_figure_is_held_to_its_target(figure: Figure, verdict: str) -> None:
    assert figure.verdict == verdict


def test_the_table_has_a_row_for_each_figure_and_for_what_went_wrong() -> None:
    kept, missed = Figure("a", 1.0, "s", at_most=2), Figure("b", 3.0, at_most=2)
    outcomes = [
        Outcome("good", "", "ok", 1.2, (kept,)),
        Outcome("bad", "", "ok", 1.2, (missed,)),
        Outcome("broken", "", "failed", 0.4, (), "a | b\nc"),
    ]
    rows = figures.table(outcomes).splitlines()
    assert "| good | a | 1 s | <= 2 | pass | 1 |" in rows
    assert "| bad | b | 3 |  | FAIL | 1 |".replace("|  |", "| <= 2 |") in rows
    assert r"| broken | failed: a \| b c |  |  | FAIL | 0 |" in rows
    assert [outcome.passed for outcome in outcomes] == [True, False, False]


def test_numbers_have_three_digits() -> None:
    assert [short(value) for value in (0.0, 0.00012, 0.5, 12.345, 1234.5, 303_456.0)] == [
        "0",
        "1.2e-04",
        "0.5",
        "12.3",
        "1234",
        "303k",
    ]
