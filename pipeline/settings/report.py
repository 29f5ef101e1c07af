"""The settings of the report stage: the experiment, its methods and its configuration."""

from pydantic import Field

from pipeline.methods.method import Method
from pipeline.settings.base import Settings
from pipeline.settings.contrasts import ContrastFamily


class MissingCell(Settings):
    """A cell of the grid that is not in a report."""

    teacher: str
    student: str
    method: str
    kind: str
    seed: int
    why: str  # a failure with its last line, or that its jobs have not yet run


class ReportSettings(Settings):
    """The experiment of a report."""

    later_keys = ("contrasts",)

    experiment: str
    data_id: str
    tokens_id: str = ""
    methods: dict[str, Method] = Field(min_length=1)  # with overrides, by their names in the grid
    primary: tuple[str, ...] = ()  # measures that are shown first; empty: see Results
    contrasts: dict[str, ContrastFamily] = {}  # by the family's name
    config: dict[str, object] = Field(default_factory=dict)  # the whole configuration, validated
    given: str = ""  # the configuration as JSON, its keys in the order of the file
    missing: tuple[MissingCell, ...] = ()  # of a partial report
