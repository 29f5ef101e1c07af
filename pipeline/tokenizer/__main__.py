"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.tokenizer JOB --data DIR --out results/tokenizers/ID
"""

from pathlib import Path

from pipeline import cli, tokenizer


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = cli.parser(tokenizer)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()

    from pipeline.tokenizer import stage

    stage.run(options)


if __name__ == "__main__":
    cli.run(main)
