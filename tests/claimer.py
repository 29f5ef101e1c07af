"""A process that claims a device, says which, and holds it until its input ends.

python claimer.py FOLDER MEMORY_MB NAME:MEMORY_MB ...
"""

import sys
from pathlib import Path

from workflow.launch.gpu_lease import Device, claimed


def main() -> None:
    """Claims, prints, waits."""
    folder, needed, *given = sys.argv[1:]
    pairs = [one.split(":") for one in given]
    devices = [Device(name, int(memory)) for name, memory in pairs]
    print("waiting", flush=True)
    with claimed(devices, int(needed), Path(folder)) as device:
        print(device.name, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
