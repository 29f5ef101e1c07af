"""A process that claims memory of a GPU, prints which, and holds it until its input ends.

python claimer.py FOLDER MEMORY_MB NAME:MEMORY_MB ...
"""

import sys
from pathlib import Path

from workflow.launch.gpu_lease import Gpu, leased_gpu


def main() -> None:
    """Claims, prints, waits."""
    folder, memory_mb, *names = sys.argv[1:]
    pairs = [name.split(":") for name in names]
    gpus = [Gpu(name, int(memory)) for name, memory in pairs]
    print("waiting", flush=True)
    with leased_gpu(gpus, int(memory_mb), Path(folder)) as gpu:
        print(gpu.name, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
