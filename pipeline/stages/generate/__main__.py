"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.generate JOB --teacher DIR --tokens DIR --state DIR --out results/texts/ID
"""

from pathlib import Path

from pipeline.stages import command_line, generate


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = command_line.parser(generate)
    for role in ("teacher", "tokens", "state"):
        parser.add_argument(f"--{role}", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    from pipeline.stages.generate import stage

    stage.run(options)


if __name__ == "__main__":
    command_line.run(main)
