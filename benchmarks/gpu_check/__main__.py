"""What a user runs first on a new machine: whether its GPU trains, trains right, and trains fast.

python -m benchmarks.gpu_check [--device cuda|cpu] [--only NAME ..] [--seconds 450] [--out FILE]

Checks run one after the other, each in a process of its own with a time limit; the JSON is complete
after each, a failure costs one check, and the table at the end is what belongs into a bug report.
Models are made by shape: no network, no download. docs/gpu.md says what each check means. The exit
status is the number of checks that failed.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.gpu_check import figures
from benchmarks.gpu_check.machine import describe
from benchmarks.gpu_check.run import CHECKS, CPU_PATIENCE, WHOLE_RUN, Plan, outcomes
from benchmarks.results import result_file


def main() -> int:
    """The number of failed checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=CHECKS, metavar="NAME")
    parser.add_argument(
        "--seconds",
        type=float,
        default=WHOLE_RUN,
        help=f"for the whole run on a GPU; a CPU is given {CPU_PATIENCE} times as long",
    )
    parser.add_argument("--out", type=result_file, default=Path("gpu_check.json"))
    options = parser.parse_args()

    machine = describe(options.device)
    for name, value in machine.items():
        print(f"{name}: {value}")
    results: list[figures.Outcome] = []
    figures.write(options.out, machine, results)
    plan = Plan(options.device, tuple(options.only), options.seconds)
    for outcome in outcomes(plan):
        results.append(outcome)
        figures.write(options.out, machine, results)
        verdict = "ok" if outcome.passed else "FAILED"
        print(f"{outcome.check}: {verdict}, {outcome.seconds:.0f} s {outcome.reason}", flush=True)
    print(f"\n{figures.table(results)}\n\n{options.out}")
    return sum(not outcome.passed for outcome in results)


if __name__ == "__main__":
    sys.exit(main())
