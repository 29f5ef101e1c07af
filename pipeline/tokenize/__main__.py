"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.tokenize JOB --data DIR --tokenizer DIR --out results/tokens/ID
"""

from pathlib import Path

from pipeline import cli, tokenize


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = cli.parser(tokenize)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    options = parser.parse_args()

    from pipeline.tokenize import stage

    stage.run(options)


if __name__ == "__main__":
    cli.run(main)
