"""What the report may know beside the results themselves."""

from pydantic import Field

from pipeline.settings.base import Settings


class MethodCard(Settings):
    """A method in words, for the table of methods."""

    title: str = ""
    loss: str  # with its hyperparameters, as they shall be read
    policy: str
    teacher: str  # the tier that was used: none, text, cache or live
    source: str
    evidence: str
    departures: str = ""


class ReportSettings(Settings):
    """The experiment that is reported on."""

    experiment: str
    data_id: str
    methods: dict[str, MethodCard] = Field(min_length=1)
    titles: dict[str, str] = Field(default_factory=dict)  # of metrics, in place of our own
    config: dict[str, object] = Field(default_factory=dict)  # all of it, as provenance
    version: str = ""  # of DistilBench
