"""The searches behind a report: what was tried for each method and student, and what was chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.artifacts.validations import MEASURES, ValidationMeasure
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.provenance import Manifests, inputs_of
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.settings.tuning import Choice, TriedSetting, Value


@dataclass(frozen=True)
class Search:
    """The search for the settings of one row of the main table."""

    row: Row
    choice: Choice
    trials: tuple[str, ...]  # their artifacts, as "stage/id"

    @property
    def chosen(self) -> TriedSetting:
        """The setting that its students were trained at."""
        return self.choice.tried[self.choice.chosen]

    @property
    def measure(self) -> ValidationMeasure:
        """The validation measure that it was chosen by."""
        return MEASURES[self.choice.choose_by]

    @property
    def edges(self) -> tuple[str, ...]:
        """The keys of which the lowest or highest value was chosen: one beyond may be better."""
        return tuple(
            f"{end} {key}"
            for key, value in self.chosen.values.items()
            if _is_number(value) and (end := self._end(key, value))
        )

    def _end(self, key: str, value: Value) -> str:
        values = sorted(filter(_is_number, {each.values[key] for each in self.choice.tried}))
        if len(values) == 1:
            return ""
        return "lowest" if value == values[0] else "highest" if value == values[-1] else ""


def _is_number(value: Value) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def searches(inputs: ReportInputs, results: Results) -> list[Search]:
    """Every search of a report, in the order of its tables; empty where nothing was tuned."""
    manifests = inputs.manifests
    # all seeds of a row have the same choice
    paths = {
        row: choice_path(manifests, f"students/{inputs.students[row.cell][0]}")
        for row in results.trained
    }
    return [
        Search(row, inputs.choices[path], tuple(trial_paths(manifests, path)))
        for row, path in paths.items()
        if path in inputs.choices
    ]


def choice_path(manifests: Manifests, student: str) -> str:
    """The choice that a student was trained at, as "stage/id"; empty where it had none."""
    return inputs_of(manifests, student).get("choice", "")


def trial_paths(manifests: Manifests, choice: str) -> list[str]:
    """The trials that a choice was made among, as "stage/id"."""
    inputs = inputs_of(manifests, choice).items()
    return [path for role, path in inputs if role.startswith("trial")]


def described(values: Mapping[str, Value]) -> str:
    """A setting in words."""
    shown = (f"{value:g}" if _is_number(value) else value for value in values.values())
    return ", ".join(f"{key} {text}" for key, text in zip(values, shown, strict=True))


def how_chosen(tuned: Sequence[Search]) -> str:
    """How the settings of a report were chosen, in a few sentences; empty where they were given."""
    if not tuned:
        return ""
    search = tuned[0]  # all have as many trials, with the same seeds
    count, seeds = len(search.choice.tried), ", ".join(map(str, search.chosen.scores))
    return (
        f"Each method and student had {count} trials for each of the training seeds {seeds}. The "
        f"setting with the best mean {search.measure.title} on validation data was chosen, and the "
        "method was trained with it and with fresh seeds. No other trial was scored on test data."
    )
