"""What goes wrong while an experiment runs on a cluster: each fault waits for its moment."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from slurm_cluster import Cluster
from snaking import Copy


@dataclass
class Seen:
    """What the faults saw while the experiment ran."""

    environ: dict[str, str] = field(default_factory=dict)  # of a training process
    drained_state: str = ""
    waited_for: str = ""  # why a job was not started meanwhile


def in_training(project: Copy, stage: str, id: str) -> int | None:
    """The process that trains an artifact, once it has made a step."""
    log = project.folder / "results/logs" / stage / f"{id}.log"
    if not log.exists() or "step 1/" not in log.read_text():
        return None
    return process_of(f"/{id}")


def process_of(made: str) -> int | None:
    """The process of a job whose output ends so."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode().split("\0")
            if "workflow.launch.run_stage" in words and any(word.endswith(made) for word in words):
                return int(path.parent.name)
    return None


def hang(project: Copy, cluster: Cluster, seen: Seen, id: str) -> Iterator[None]:
    """Stops a training process when little of its time is left: it can't finish within it."""
    while (process := in_training(project, "students", id)) is None:
        yield
    os.kill(process, signal.SIGSTOP)
    words = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    seen.environ |= dict(word.split("=", 1) for word in words if "=" in word)
    job = seen.environ["SLURM_JOB_ID"]
    (run,) = (row["RunTime"] for row in cluster.jobs() if row["JobId"] == job)
    minutes = int(run.split(":")[1]) + 2  # the warning comes two minutes ahead: that is now
    cluster.command("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")


def overrun(project: Copy, cluster: Cluster, id: str) -> Iterator[None]:
    """Holds an evaluation up until its limit, cut to the shortest there is, has passed."""
    log = project.folder / "results/logs/evals" / f"{id}.log"
    while not (log.exists() and log.read_text() and (process := process_of(f"/{id}"))):
        yield
    os.kill(process, signal.SIGSTOP)
    while (job := _job_of(cluster, id))["RunTime"] < "00:01:02":
        yield
    cluster.command("scontrol", "update", f"JobId={job['JobId']}", "TimeLimit=1")


def cancel(project: Copy, cluster: Cluster, id: str) -> Iterator[None]:
    """Cancels a training job, as an administrator or a person by mistake might."""
    while in_training(project, "teachers", id) is None:
        yield
    cluster.command("scancel", _job_of(cluster, id)["JobId"])


def kill(made: str) -> Iterator[None]:
    """Kills the process that makes this path, as the kernel does without memory."""
    while (process := process_of(made)) is None:
        yield
    os.kill(process, signal.SIGKILL)


def drain(project: Copy, cluster: Cluster, seen: Seen, made: str) -> Iterator[None]:
    """Takes the node out when this path is made, until SLURM says that a job waits for it."""
    while not (project.folder / made / "manifest.json").exists():
        yield
    update = ("scontrol", "update", f"nodename={cluster.host}")
    cluster.command(*update, "state=drain", "reason=test")
    seen.drained_state = cluster.node_state()
    while not (reasons := [job["Reason"] for job in cluster.jobs() if "DRAINED" in job["Reason"]]):
        yield
    seen.waited_for = reasons[0]
    cluster.command(*update, "state=resume")


def _job_of(cluster: Cluster, id: str) -> dict[str, str]:
    """The only job yet of an artifact."""
    (job,) = (job for job in cluster.jobs() if id in job["Comment"])
    return job
