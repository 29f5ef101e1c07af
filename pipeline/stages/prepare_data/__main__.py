"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.stages.prepare_data JOB --out results/data/ID [--threads 2]
"""

from pipeline.stages import command_line, prepare_data


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = command_line.parser(prepare_data)
    parser.add_argument("--threads", type=int, default=1, help="processes that parse source files")
    options = parser.parse_args()

    from pipeline.stages.prepare_data import stage

    stage.run(options)


if __name__ == "__main__":
    command_line.run(main)
