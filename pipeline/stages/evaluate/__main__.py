"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.evaluate JOB --model DIR --data DIR --tokens DIR [--cache DIR].. [--task
DIR]..
    [--teacher DIR].. --state DIR --out results/evals/ID
"""

from pathlib import Path

from pipeline.stages import command_line, evaluate


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = command_line.parser(evaluate)
    for role in ("model", "data", "tokens", "state"):
        parser.add_argument(f"--{role}", type=Path, required=True)
    for role in ("cache", "task", "teacher"):
        parser.add_argument(f"--{role}", type=Path, action="append", default=[])
    parser.add_argument("--micro-batch-tokens", type=int, default=16_384)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    from pipeline.stages.evaluate import stage

    stage.run(options)


if __name__ == "__main__":
    command_line.run(main)
