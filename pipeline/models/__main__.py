"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.models JOB [--tokenizer DIR] [--base DIR] --out results/models/ID
"""

from pathlib import Path

from pipeline import cli, models


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = cli.parser(models)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--base", type=Path)
    options = parser.parse_args()

    from pipeline.models import stage

    stage.run(options)


if __name__ == "__main__":
    cli.run(main)
