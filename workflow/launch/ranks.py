"""The ranks of a job: processes of one command, told apart by the variables that torchrun sets.

A rank that fails ends the job: the others would wait for it until their time-out. torchrun is not
used, since its agent answers a scheduler's SIGTERM in place of the stage, and ends with a status of
its own whatever the status of its ranks.
"""

import io
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from pipeline.runtime.progress import log
from pipeline.runtime.rank_variables import VARIABLES
from pipeline.stages.command_line import REQUEUE
from workflow.launch.gpu_lease import VISIBLE

LAST_BYTES = 2_000  # of a rank's output, to tell how it ended
PORTS = range(20_000, 30_000)  # of jobs on several nodes: below those that systems give out
TASKS = "SLURM_STEP_NUM_TASKS"
VICTIM_SECONDS = 0.5  # in which a rank ends that has lost the connection to another
RELAY_SECONDS = 2.0  # for the last words of a rank whose own children keep its output open


@dataclass(frozen=True)
class RankGroup:
    """The ranks that this process starts, among all ranks of its job."""

    size: int  # ranks of the job
    first: int = 0  # rank that this process starts
    count: int = 1  # of them, one after another
    local_first: int = 0  # the first one's place among the ranks of this node
    local_size: int = 1  # ranks of this node
    address: str = "127.0.0.1"  # where the ranks meet
    port: int = 0

    def environments(self, gpus: Sequence[str] | None) -> Iterator[dict[str, str]]:
        """The variables of each rank; `gpus` names one GPU for each, where they have any."""
        for place in range(self.count):
            rank, local = self.first + place, self.local_first + place
            values = (rank, self.size, local, self.local_size, self.address, self.port)
            shown = {VISIBLE: gpus[place]} if gpus else {}
            yield dict(zip(VARIABLES, map(str, values), strict=True)) | shown


def is_task(environment: Mapping[str, str]) -> bool:
    """Whether this process is one of several tasks of a SLURM step."""
    return int(environment.get(TASKS, 1)) > 1


def become_step(tasks: int) -> NoReturn:
    """Replaces this process of a SLURM job by a step with tasks, which run the same command."""
    if "SLURM_JOB_ID" not in os.environ:
        raise ValueError(
            f"{tasks} tasks need a job of SLURM: leave `nodes_per_job` out of the profile elsewhere"
        )
    # a task that fails ends the others
    step = ["srun", f"--ntasks={tasks}", "--kill-on-bad-exit=1", "--cpu-bind=none"]
    os.execvp("srun", [*step, *sys.orig_argv])


def rank_group(ranks: int, environment: Mapping[str, str]) -> RankGroup | None:
    """The ranks that this process is to start; None where it runs its job alone.

    On one node these are all of them. Of a SLURM step with several tasks, each task starts its
    share. Raises ValueError if that is no whole number.
    """
    if not is_task(environment):
        alone = RankGroup(ranks, count=ranks, local_size=ranks, port=_free_port())
        return alone if ranks > 1 else None
    tasks = int(environment[TASKS])
    size = max(ranks, tasks)
    if size % tasks:
        raise ValueError(f"{size} ranks can't be shared equally by the {tasks} tasks of this step")
    count, node = size // tasks, int(environment["SLURM_NODEID"])
    on_node = tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])[node]
    return RankGroup(
        size,
        first=int(environment["SLURM_PROCID"]) * count,
        count=count,
        local_first=int(environment["SLURM_LOCALID"]) * count,
        local_size=on_node * count,
        address=_first_host(environment["SLURM_STEP_NODELIST"]),
        port=PORTS[int(environment["SLURM_JOB_ID"]) % len(PORTS)],
    )


def tasks_per_node(listed: str) -> list[int]:
    """The tasks of each node, as SLURM lists them: `2(x3),1` are 2, 2, 2 and 1."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", listed)
    return [int(tasks) for tasks, times in parts for _ in range(int(times or 1))]


def _first_host(nodes: str) -> str:
    listed = subprocess.run(
        ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def gpus_of_ranks(group: RankGroup, visible: Sequence[str]) -> list[str]:
    """One of the visible GPUs for each rank of a process. Raises ValueError for too few of them."""
    if len(visible) >= group.local_size:  # all ranks of the node see the same ones
        visible = visible[group.local_first :]
    if len(visible) < group.count:
        raise ValueError(
            f"{group.count} ranks need a GPU each, and this job sees {len(visible)}: request more "
            "GPUs for it, or set `gpus_per_job` in the profile to what it gets"
        )
    return list(visible[: group.count])


def run_ranks(command: Sequence[str], environments: Sequence[Mapping[str, str]]) -> int:
    """The status of a job: 0, or that of the rank that failed first, after which none is left.

    Ranks that were asked to stop save what they have, and all of them end with `REQUEUE`.
    """
    ended: queue.SimpleQueue[_Rank] = queue.SimpleQueue()
    ranks: list[_Rank] = []

    def forward(number: int, _frame: object) -> None:
        for rank in ranks:
            rank.process.send_signal(number)  # none where it has ended

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    output = _Log()
    ranks.extend(_Rank(command, environment, ended, output) for environment in environments)
    statuses = []
    for _ in environments:
        rank = ended.get()
        statuses.append(rank.status)
        if rank.has_failed:
            return _end_all(ranks, rank).status
    return max(statuses)


def _end_all(ranks: Sequence["_Rank"], failed: "_Rank") -> "_Rank":
    """The rank that failed first, when none is left: they wait for it, and could save nothing.

    A rank that has lost the connection to it may be gone sooner, but its last words are later.
    """
    time.sleep(VICTIM_SECONDS)
    suspects = [rank for rank in ranks if rank.process.poll() is not None and rank.has_failed]
    for rank in ranks:
        rank.process.kill()
    for rank in ranks:
        rank.process.wait()
        rank.relay.join(RELAY_SECONDS)
    first = min(suspects or [failed], key=lambda rank: rank.spoke)
    log(f"rank {first.number} ended first, {first.ending}")
    return first


class _Log:
    """Standard error, to which all ranks' output is passed on."""

    def __init__(self) -> None:
        self.lock, self.is_at_start = threading.Lock(), True  # of a line

    def write(self, text: bytes, prefix: bytes) -> None:
        """Writes some output; what has a prefix begins a line, even amidst a line of another's."""
        with self.lock:
            start = b"\n" if prefix and not self.is_at_start else b""
            sys.stderr.buffer.write(start + prefix + text)
            sys.stderr.buffer.flush()
            self.is_at_start = text.endswith(b"\n")


class _Rank:
    """A rank's process, whose output is passed on with its number, but for the first one's."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        ended: "queue.SimpleQueue[_Rank]",
        output: _Log,
    ):
        self.number, self.output = int(environment["RANK"]), output
        self.words = b""  # the last of its output
        self.spoke = time.monotonic()  # when it came
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=subprocess.PIPE if self.number else None,
            stderr=subprocess.STDOUT if self.number else subprocess.PIPE,
        )
        self.relay = threading.Thread(target=self._pass_on, daemon=True)
        self.relay.start()
        threading.Thread(target=self._report_end, args=(ended,), daemon=True).start()

    def _pass_on(self) -> None:
        """Copies the process's output to standard error: of other ranks than the first by lines."""
        stream = self.process.stdout if self.number else self.process.stderr
        assert isinstance(stream, io.BufferedReader)
        prefix = f"rank {self.number}: ".encode() if self.number else b""
        while part := stream.readline() if self.number else stream.read1():
            if self.number and b"\r" in part:  # a progress bar
                continue
            self.words, self.spoke = (self.words + part)[-LAST_BYTES:], time.monotonic()
            self.output.write(part, prefix)

    def _report_end(self, ended: "queue.SimpleQueue[_Rank]") -> None:
        self.process.wait()
        ended.put(self)

    @property
    def status(self) -> int:
        """The status of a process that has ended, as a shell reports it."""
        code = self.process.returncode
        return code if code >= 0 else 128 - code

    @property
    def has_failed(self) -> bool:
        """Whether it has ended with neither success nor a saved state."""
        return self.status not in (0, REQUEUE)

    @property
    def ending(self) -> str:
        """How it ended, with the last line of its output."""
        code = self.process.returncode
        how = f"with status {code}" if code >= 0 else f"by signal {-code}"
        lines = self.words.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{how}: {last}" if last else how
