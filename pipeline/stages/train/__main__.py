"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.train JOB --start DIR --tokens DIR [--texts DIR].. [--cache DIR]
    [--teacher DIR] --state DIR --out results/students/ID
"""

from pathlib import Path

from pipeline.stages import command_line, train


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = command_line.parser(train)
    for role in ("start", "tokens", "state"):
        parser.add_argument(f"--{role}", type=Path, required=True)
    for role in ("cache", "teacher"):
        parser.add_argument(f"--{role}", type=Path)
    parser.add_argument("--texts", type=Path, action="append", default=[])
    parser.add_argument("--micro-batch-tokens", type=int, default=16_384)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--save-seconds", type=float, default=120)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    from pipeline.stages.train import stage

    stage.run(options)


if __name__ == "__main__":
    command_line.run(main)
