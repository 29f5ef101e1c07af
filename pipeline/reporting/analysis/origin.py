"""Where the numbers of a report come from: when, on which machines, from which commit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.reporting.analysis.provenance import Manifests
from pipeline.reporting.analysis.texts import counted
from pipeline.runtime.costs import JobCost

GIB = 2**30
# the page of a file at a commit, on hosts that don't have it where GitHub, GitLab and the
# Hugging Face hub have it
BLOB = "blob"
BLOBS = {"bitbucket.org": "src", "codeberg.org": "src/commit"}


@dataclass(frozen=True)
class Origin:
    """What the manifests behind a report say of its making; empty where they say nothing."""

    began: str  # day on which the first artifact was finished
    finished: str  # day on which the last one was
    commits: tuple[str, ...]  # such as "c841af8" or "c841af8, 2 files changed"
    machines: tuple[str, ...]  # such as "node7: AMD EPYC 7763, 16 cores, 64 GiB"
    seconds: float  # that the jobs took, one after the other

    @property
    def job_time(self) -> str:
        """The time that the jobs took, in seconds, minutes or hours."""
        if self.seconds < 90:
            return f"{self.seconds:.0f} s"
        minutes = self.seconds / 60
        return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:,.1f} h"


def origin_of(manifests: Manifests, costs: Mapping[str, JobCost]) -> Origin:
    """The origin of a report, from the manifests and costs of all artifacts behind it."""
    days = sorted(_distinct(manifest.get("finished", "")[:10] for manifest in manifests.values()))
    return Origin(
        began=days[0] if days else "",
        finished=days[-1] if days else "",
        commits=_distinct(commit(manifest.get("checkout", {})) for manifest in manifests.values()),
        machines=_distinct(machine(manifest.get("machine", {})) for manifest in manifests.values()),
        seconds=sum(job.cost.seconds for job in costs.values()),
    )


def commit(checkout: Mapping[str, Any]) -> str:
    """The name of a commit, and how many files were not as it has them."""
    if not checkout:
        return ""
    changed = len(checkout["changed"])
    return checkout["name"] + (f", {counted(changed, 'file')} changed" if changed else "")


def machine(facts: Mapping[str, Any]) -> str:
    """A machine in a line."""
    if not facts:
        return ""
    cores = counted(facts["cores"], "core")
    memory = f"{facts['memory_bytes'] / GIB:.0f} GiB"
    gpus = (f"{facts['gpus'].count(name)} × {name}" for name in dict.fromkeys(facts["gpus"]))
    return f"{facts['host']}: {', '.join([facts['cpu'], cores, memory, *gpus])}"


def folder_address(checkout: Mapping[str, Any]) -> str:
    """The web address of the repository's root at the commit; nothing without a remote."""
    if not checkout.get("remote"):
        return ""
    host = checkout["remote"].split("/")[2]
    return f"{checkout['remote']}/{BLOBS.get(host, BLOB)}/{checkout['commit']}/"


def file_address(checkout: Mapping[str, Any], path: str) -> str:
    """The web address of a file; nothing where the commit doesn't have it as it was run."""
    folder = folder_address(checkout)
    return f"{folder}{path}" if folder and path not in checkout["changed"] else ""


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
