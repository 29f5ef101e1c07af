"""One rank of a job, as the launcher of its ranks starts it: `run_rank MODULE ARGUMENT ..`."""

import signal
import sys

from pipeline.runtime.streams import prepare_streams
from workflow.launch import processes, run_stage


def main() -> None:
    """Runs a module as a program, by the server of preloaded libraries where there is one."""
    prepare_streams()
    processes.end_with_parent(signal.SIGTERM)
    run_stage.run_here(sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    main()
