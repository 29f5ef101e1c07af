"""The command line: its commands, their arguments, and what asking for help loads."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module

import forked
import pytest
from snaking import ROOT

from pipeline.methods.catalogue import METHODS
from workflow.commands import console, methods
from workflow.commands.main import main, parser

COMMANDS = {
    "run": [],
    "plan": [],
    "status": [],
    "stage": ["results/students/x"],
    "report": [],
    "publish": ["demo"],
    "compare": ["results/published/demo", "results/demo"],
    "merge": ["results/published/demo", "--out", "leaderboard"],
    "prune": [],
    "methods": [],
    "conformance": [],
    "schema": [],
    "check-gpu": [],
    "protocol-sizes": [],
}
HEAVY = ("torch", "transformers", "snakemake", "pydantic", "pandas", "numpy", "yaml", "rich")


def loaded_by(*arguments: str) -> set[str]:
    """The modules that are loaded once a command line has been dealt with."""
    code = (
        "import json, sys\n"
        "from workflow.commands.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(); print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)])
def test_help_loads_no_library(arguments: Sequence[str]):
    modules = loaded_by(*arguments, "--help")
    assert modules.isdisjoint(HEAVY)
    others = {name for name in modules if name.startswith(("pipeline", "workflow", "distilbench"))}
    assert others == {"workflow", "workflow.commands", "workflow.commands.main"}


@pytest.mark.parametrize(("name", "arguments"), COMMANDS.items())
def test_a_commands_function_takes_what_its_command_line_gives(name: str, arguments: list[str]):
    options = vars(parser().parse_args([name, *arguments]))
    command = import_module(f"workflow.commands.{options.pop('module')}")
    assert set(options) == set(inspect.signature(command.main).parameters)


def test_only_a_run_passes_arguments_on_to_snakemake(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "--", "--forceall"])
    assert "--" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["plan", "--at-once", "0"], ["run", "--cores", "-1"]])
def test_no_jobs_at_a_time_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert f"'{arguments[-1]}' is no whole number from 1 on" in capsys.readouterr().err


def test_a_profile_that_is_not_there_is_refused_before_a_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match=r"^profile: nowhere/config\.yaml: there is no such file"):
        main(["run", "--profile", "nowhere"])


def test_a_list_of_methods_has_all_of_them(capsys: pytest.CaptureFixture[str]):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(METHODS)


def test_a_method_is_described_with_its_hyperparameters(capsys: pytest.CaptureFixture[str]):
    assert main(["methods", "jsd"]) == 0
    assert "`teacher_weight` = 0.5" in capsys.readouterr().out


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(SystemExit, match=r"'foward_kl'.*forward_kl"):
        main(["methods", "foward_kl"])


def test_a_table_on_a_terminal_fits_100_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main(["methods"])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, shown.splitlines())) <= console.WIDEST


def test_plain_text_is_never_cut():
    text = console.plain_table(("name", "count"), [("x" * 300, "1"), ("y", "22")], right=("count",))
    heading, first, second = text.splitlines()
    assert first == "x" * 300 + "      1"
    assert heading.endswith("count")
    assert second.endswith("   22")


def test_docs_are_written_to_the_file_that_is_named(tmp_path):
    assert main(["methods", "--docs", str(tmp_path / "methods.md")]) == 0
    assert (tmp_path / "methods.md").read_text() == methods.page()


@pytest.mark.slow
def test_the_gpu_check_gets_its_own_options():
    command = ["-m", "workflow.commands.main", "check-gpu", "--only", "nothing"]
    done = forked.jobs().run(command, ROOT)
    assert "invalid choice: 'nothing'" in done.stderr


def test_make_alone_says_what_there_is():
    done = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    described = re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE)
    assert described == rules


@pytest.mark.parametrize(("argument", "deletes"), [("DELETE=yes", True), ("DELETE=no", False)])
def test_make_prune_deletes_only_if_it_is_told_to(argument: str, deletes: bool):
    command = ["make", "-C", str(ROOT), "--dry-run", "prune", argument]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("distilbench")]
    assert ("--delete" in line) == deletes
    assert "config.yaml" not in line
