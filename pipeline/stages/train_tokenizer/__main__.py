"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.train_tokenizer JOB --data DIR --out results/tokenizers/ID
"""

from pathlib import Path

from pipeline.stages import command_line, train_tokenizer


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = command_line.parser(train_tokenizer)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()

    from pipeline.stages.train_tokenizer import stage

    stage.run(options)


if __name__ == "__main__":
    command_line.run(main)
