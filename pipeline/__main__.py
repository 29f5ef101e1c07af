"""The command line of all stages: `python -m pipeline STAGE --job FILE ...`.

Heavy libraries are imported only after the arguments are parsed.
"""

import argparse
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

from pipeline.artifacts.artifact import Job
from pipeline.artifacts.part import Part
from pipeline.runtime.imports import import_for_good
from pipeline.stages import command_line
from pipeline.stages.options import STAGES, Paths


def main() -> None:
    """Parses the command line, then imports the stage and runs it."""
    parser = argparse.ArgumentParser(prog="python -m pipeline", description="One job of a stage.")
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for name, options_type in STAGES.items():
        summary = options_type.__doc__
        stage_parser = stages.add_parser(name, help=summary, description=summary)
        add_flags(stage_parser, options_type)

    values = vars(parser.parse_args())
    name = values.pop("stage")
    # a repeated flag comes as a list
    frozen = {key: tuple(it) if isinstance(it, list) else it for key, it in values.items()}
    options = STAGES[name](**frozen)
    import_for_good(f"pipeline.stages.{name}").run(options)


def add_flags(parser: argparse.ArgumentParser, options_type: type) -> None:
    """A flag for each field: required if it has no default, repeatable if it is a list."""
    types = get_type_hints(options_type, include_extras=True)
    for field in fields(options_type):
        annotated, summary = get_args(types[field.name])
        flag, default = f"--{field.name.replace('_', '-')}", field.default
        if annotated is bool:
            parser.add_argument(flag, action="store_true", help=summary)
        elif annotated == Paths:
            parser.add_argument(flag, type=Path, action="append", default=[], help=summary)
        else:
            parser.add_argument(
                flag,
                type=_converter(annotated),
                required=default is MISSING,
                default=None if default is MISSING else default,
                help=summary if default in (MISSING, None) else f"{summary} (default: {default})",
            )


def _converter(annotated: object) -> Callable[[str], object]:
    """The type of a field, without None; a job is read from its file."""
    (kind,) = {*(get_args(annotated) or [annotated])} - {NoneType}
    if kind is Job:
        return _read_job
    if kind is Part:
        return _read_part
    assert isinstance(kind, type)
    return kind


def _read_job(path: str) -> Job:
    try:
        return Job.read(Path(path))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _read_part(text: str) -> Part:
    try:
        return Part.of_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    command_line.run(main)
