"""The choice among the trials of a search, as an artifact that the final students read.

A final student's id has the choice's id in it, not what was chosen: so all ids are known before
anything has run, and the plan, the status, reruns, repairs and estimates of cost need no second
look at the grid. (A checkpoint of Snakemake would change the graph in the middle of a run.) The
price: a student whose trials change is trained again, even if the choice stays what it was.
"""

from collections.abc import Iterable
from typing import Any

from pipeline.settings.tuning import Tuning
from workflow.grid.artifact import Artifact

CHOICE = "choice"  # role of an input of a student
TRIAL = "trial"  # role of an input of a choice


def choice_among(
    name: str, tuning: Tuning, keys: dict[str, list[str]], trained: Iterable[Artifact]
) -> Artifact:
    """The choice among trained students; `keys` are the places of tuned keys in their settings."""
    settings = {"choose_by": tuning.choose_by, "keys": keys}
    return Artifact.of("choices", name, settings, *((TRIAL, each) for each in trained))


def chosen_places(choice: Artifact) -> list[str]:
    """The places in a training job's settings that a choice decides on."""
    return [place for places in choice.settings["keys"].values() for place in places]


def trials_of(artifact: Artifact) -> list[Artifact]:
    """The trials that a student's settings are chosen from; none where nothing is tuned."""
    choices = [input for role, input in artifact.inputs if role == CHOICE]
    return [trial for choice in choices for role, trial in choice.inputs if role == TRIAL]


def largest_settings(artifact: Artifact) -> dict[str, Any]:
    """The settings of a training job; where they are yet to be chosen, those of the largest batch.

    For estimates, which must hold whatever is chosen.
    """
    settings = [trial.settings for trial in trials_of(artifact)] or [artifact.settings]
    return max(settings, key=lambda each: each["training"]["batch_size"])
