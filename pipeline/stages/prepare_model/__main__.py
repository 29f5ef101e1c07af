"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.prepare_model JOB [--tokenizer DIR] [--base DIR] --out results/models/ID
"""

from pathlib import Path

from pipeline.stages import command_line, prepare_model


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = command_line.parser(prepare_model)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--base", type=Path)
    options = parser.parse_args()

    from pipeline.stages.prepare_model import stage

    stage.run(options)


if __name__ == "__main__":
    command_line.run(main)
