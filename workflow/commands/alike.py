"""Messages that say the same of many jobs, told once with the names of those that they hit."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workflow.commands.job_status import UnfinishedJob

SHOWN = 3  # names of those that a message hit
VARYING = re.compile(r"\S*\d\S*")  # numbers and ids differ between jobs that fail alike
OMITTED = "…"


@dataclass(frozen=True)
class Shared:
    """A message, and the names of all that it is about."""

    message: str  # without the words in which theirs differ
    names: tuple[str, ...]

    @property
    def listed(self) -> str:
        """The first names, and how many more there are."""
        more = len(self.names) - SHOWN
        return ", ".join(self.names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def pattern(message: str) -> str:
    """What messages of one cause have in common: all but words with a digit."""
    return VARYING.sub("#", message)


def shared(messages: Mapping[str, str]) -> list[Shared]:
    """The messages of what is named, each once for all that it says the same of."""
    names: dict[str, list[str]] = {}
    for name, message in messages.items():
        names.setdefault(pattern(message), []).append(name)
    return [
        Shared(_common([messages[name] for name in of_cause]), tuple(of_cause))
        for of_cause in names.values()
    ]


def _common(messages: list[str]) -> str:
    """Messages of one pattern as one, whose words that differ are left out."""
    if len(set(messages)) == 1:
        return messages[0]
    words = zip(*(message.split() for message in messages), strict=True)
    common = " ".join(same[0] if len(set(same)) == 1 else OMITTED for same in words)
    return re.sub(rf"{OMITTED}( {OMITTED})+", OMITTED, common)


def failures(jobs: Iterable[UnfinishedJob]) -> list[str]:
    """What jobs have failed of, in a paragraph for each cause, with the log of its first job."""
    by_name = {job.name: job for job in jobs}
    messages = {name: job.message.removeprefix("error: ") for name, job in by_name.items()}
    paragraphs = []
    for cause in shared(messages):
        log = f"    {by_name[cause.names[0]].log}"
        if len(cause.names) == 1:
            paragraphs.append(f"{cause.names[0]}: {cause.message}\n{log}")
        else:
            heading = f"{len(cause.names)} jobs: {cause.message}"
            paragraphs.append(f"{heading}\n    {cause.listed}\n{log}")
    return paragraphs
