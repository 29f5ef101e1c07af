"""`distilbench`: runs experiments, and says what is to do, what is done, and what there is.

Each command is a module of this folder whose function `main` takes the command's arguments by name
and returns the exit status. It is imported only when it is to run: `--help` loads none of them.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

CONFIG = Path("config.yaml")
TO_DO = "exit status: 0 nothing to do, 3 something to do, 1 a faulty configuration or profile"
MOVED = "exit status: 0 no score moved, 3 at least one moved, 1 no report to compare"
CLOSED_PIPE, INTERRUPTED = 128 + signal.SIGPIPE, 128 + signal.SIGINT  # as a shell reports them
STATUS = "exit status: 0 all done, 1 a job has failed or the configuration is faulty, 3 otherwise"
Add = Callable[[str, str, str], argparse.ArgumentParser]  # a command, by name, module and purpose


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of the command that the arguments name."""
    before, after = _split(sys.argv[1:] if arguments is None else arguments)
    command_line = parser()
    parsed, unknown = command_line.parse_known_args(before)
    options = vars(parsed)
    if "arguments" in options:
        options["arguments"] = unknown
    elif unknown:
        command_line.error(f"unrecognized arguments: {' '.join(unknown)}")
    if "snakemake" in options:
        options["snakemake"] = after
    elif after:
        command_line.error("only `run` passes arguments after -- to Snakemake")
    return _run(options.pop("module"), options)


def _run(module: str, options: dict[str, object]) -> int:
    """A command's exit status; a reader of its output that has had enough (`| head`) ends it."""
    from pipeline.runtime.imports import import_for_good
    from pipeline.runtime.streams import prepare_streams
    from pipeline.stages.command_line import explained

    prepare_streams()
    try:
        command = import_for_good(f"workflow.commands.{module}")
        status = command.main(**options)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        _drop_output()
        sys.exit(f"error: {explained(error)}")
    return status


def _drop_output() -> None:
    """Writes what is buffered, or drops it: it would fail once more when the interpreter ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before `--`, and those after it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:end]), list(arguments[end + 1 :])


def parser() -> argparse.ArgumentParser:
    """The command line, with each command's module and arguments."""
    whole = argparse.ArgumentParser(
        "distilbench", description="A benchmark of knowledge distillation for language models."
    )
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, module: str, purpose: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=purpose, description=f"{purpose}.")
        command.set_defaults(module=module)
        return command

    _add_commands_of_a_run(add)
    _add_commands_of_results(add)
    _add_commands_of_the_project(add)
    return whole


def _add_commands_of_a_run(add: Add) -> None:
    run = add("run", "run", "Run an experiment: every job that is not finished")
    run.add_argument("config", type=Path, nargs="?", help="default: config.yaml")
    run.add_argument("--cores", type=_cores, default="all", help="processors; default: all of them")
    run.add_argument("--profile", type=Path, default=Path("workflow/profiles/local"), metavar="DIR")
    run.add_argument(
        "--tracker", metavar="NAME", help="shows curves offline: tensorboard, trackio or wandb"
    )
    run.set_defaults(snakemake=[])
    run.epilog = "arguments after -- are passed to Snakemake"

    plan = add("plan", "plan", "What would run, why, and what it would cost; nothing is run")
    _config(plan)
    plan.add_argument("--profile", type=Path, metavar="DIR", help="do the jobs fit its machine?")
    plan.add_argument("--at-once", type=_count, default=os.cpu_count() or 1, help="jobs at a time")
    plan.add_argument("--keep-code", action="store_true", help="results of edited code stay as is")
    _json(plan)
    plan.epilog = TO_DO

    status = add("status", "status", "What is done, running, failed and left, and for how long")
    _config(status)
    shown = status.add_mutually_exclusive_group()
    shown.add_argument("--watch", action="store_true", help="until the run ends")
    _json(shown)
    status.epilog = STATUS

    stage = add("stage", "stage", "Run the job that makes one artifact, in this terminal")
    stage.add_argument("path", type=Path, help="such as results/students/jsd.small-.., or its id")
    stage.add_argument("--configfile", type=Path, default=CONFIG, help=f"default: {CONFIG}")
    stage.add_argument("--profile", type=Path, metavar="DIR", help="of a machine with a GPU")


def _add_commands_of_results(add: Add) -> None:
    report = add("report", "report", "Make the report of an experiment whose cells are finished")
    _config(report)
    report.add_argument("--partial", action="store_true", help="of those cells that are finished")

    publish = add("publish", "publish", "Copy a report to results/published/ after a self-check")
    publish.add_argument("experiment", help="its name, as in the configuration")
    publish.add_argument(
        "--to-hub", metavar="OWNER/NAME", help="then upload it to the Hugging Face hub"
    )
    publish.add_argument(
        "--folder", type=Path, help="lay the hub's repositories out here; upload nothing"
    )
    publish.add_argument(
        "--students", nargs="+", default=[], metavar="STUDENT", help="publish these: methods or ids"
    )
    publish.add_argument("--license", default="unknown", help="of what is uploaded, as on the hub")
    publish.add_argument("--public", action="store_true", help="new repositories are not private")

    compare = add("compare", "compare", "Which scores moved between two reports, and what differs")
    compare.add_argument("before", type=Path, help="such as results/published/demo")
    compare.add_argument("after", type=Path, help="such as results/demo")
    _json(compare)
    compare.epilog = MOVED

    merge = add("merge", "merge", "Join the scores of several reports into one leaderboard")
    merge.add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="their folders")
    merge.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="page and csv")

    prune = add("prune", "prune", "List what no experiment needs, with sizes and ages")
    prune.add_argument(
        "configs", type=Path, nargs="*", metavar="CONFIG", help="keep what this needs as it is now"
    )
    prune.add_argument(
        "--drop", action="append", default=[], metavar="NAME", help="an experiment to give up"
    )
    prune.add_argument("--delete", action="store_true", help="delete what is listed")
    prune.epilog = "an experiment that is neither named nor dropped keeps what its grid.csv needs"


def _add_commands_of_the_project(add: Add) -> None:
    methods = add("methods", "methods", "List the methods, or describe one")
    methods.add_argument("name", nargs="?")
    methods.add_argument("--docs", type=Path, metavar="FILE", help="write docs/methods.md")

    conformance = add("conformance", "conformance", "Hold a distillation loss against the laws")
    conformance.add_argument("loss", nargs="?", metavar="MODULE:FUNCTION")
    conformance.add_argument("--divergence", metavar="NAME", help="that it is meant to be")
    conformance.add_argument("--weight", type=float, help="of the divergence, as the loss has it")
    conformance.add_argument("--vectors", type=Path, metavar="FILE", help="write golden vectors")
    conformance.epilog = "without a loss: the laws; exit status: 3 where a law is broken"

    add("schema", "schema", "Write config.schema.json, by which editors check configurations")

    check = add("check-gpu", "check_gpu", "Check that a GPU trains correctly, and how fast")
    check.set_defaults(arguments=[])
    check.epilog = "all arguments are passed to benchmarks.gpu_check"
    add("protocol-sizes", "protocol_sizes", "Print the table of docs/protocols.md")


def _cores(text: str) -> str:
    return text if text == "all" else str(_count(text))


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _config(command: argparse.ArgumentParser) -> None:
    command.add_argument("config", type=Path, nargs="?", default=CONFIG, help=f"default: {CONFIG}")


def _json(command: argparse._ActionsContainer) -> None:
    command.add_argument("--json", action="store_true", help="for programs")


if __name__ == "__main__":
    sys.exit(main())
