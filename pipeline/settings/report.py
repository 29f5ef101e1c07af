"""What the report may know beside the results themselves."""

from pydantic import Field

from pipeline.methods.method import Method
from pipeline.settings.base import Settings


class ReportSettings(Settings):
    """The experiment that is reported on."""

    experiment: str
    data_id: str
    tokens_id: str = ""
    methods: dict[str, Method] = Field(min_length=1)  # as adjusted, by their names in the grid
    titles: dict[str, str] = Field(default_factory=dict)  # of metrics, in place of our own
    config: dict[str, object] = Field(default_factory=dict)  # all of it, as provenance
    given: str = ""  # the configuration as it was given, in its own order: JSON
    version: str = ""  # of DistilBench
