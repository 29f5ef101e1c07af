"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.prepare_task JOB --data DIR --out results/tasks/ID
"""

from pathlib import Path

from pipeline.stages import command_line, prepare_task


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = command_line.parser(prepare_task)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()

    from pipeline.stages.prepare_task import stage

    stage.run(options)


if __name__ == "__main__":
    command_line.run(main)
