"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.tokenize JOB --data DIR --tokenizer DIR --out results/tokens/ID
"""

from pathlib import Path

from pipeline.stages import command_line, tokenize


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = command_line.parser(tokenize)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    options = parser.parse_args()

    from pipeline.stages.tokenize import stage

    stage.run(options)


if __name__ == "__main__":
    command_line.run(main)
