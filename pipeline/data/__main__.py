"""The command line of a stage; its libraries are loaded when it is known what to do.

python -m pipeline.data JOB --out results/data/ID [--threads 2]
"""

from pipeline import cli, data


def main() -> None:
    """Reads the command line, then loads and does the work."""
    parser = cli.parser(data)
    parser.add_argument("--threads", type=int, default=1, help="processes that parse source files")
    options = parser.parse_args()

    from pipeline.data import stage

    stage.run(options)


if __name__ == "__main__":
    cli.run(main)
