"""A process that claims memory of GPUs, prints which, and holds it until its input ends.

python claimer.py FOLDER MEMORY_MB COUNT NAME:MEMORY_MB ...
"""

import sys
from pathlib import Path

from workflow.launch.gpu_lease import Gpu, leased_gpus


def main() -> None:
    """Claims, prints, waits."""
    folder, memory_mb, count, *names = sys.argv[1:]
    pairs = [name.split(":") for name in names]
    gpus = [Gpu(name, int(memory)) for name, memory in pairs]
    print("waiting", flush=True)
    with leased_gpus(gpus, int(memory_mb), Path(folder), int(count)) as leased:
        print(*(gpu.name for gpu in leased), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
