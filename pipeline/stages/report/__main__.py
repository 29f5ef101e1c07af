"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.report JOB --grid results/NAME/grid.csv --results results
    --out results/NAME/report [--threads 4]
"""

from pathlib import Path

from pipeline.stages import command_line, report


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = command_line.parser(report)
    parser.add_argument("--grid", type=Path, required=True, help="the experiment's grid.csv")
    parser.add_argument("--results", type=Path, required=True, help="the folder of all artifacts")
    parser.add_argument("--threads", type=int, default=1, help="processes, for thousands of cells")
    options = parser.parse_args()

    from pipeline.stages.report import stage

    stage.run(options)


if __name__ == "__main__":
    command_line.run(main)
