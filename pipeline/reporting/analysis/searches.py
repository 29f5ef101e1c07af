"""The searches behind a report: what was tried for each method and student, and what was chosen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.artifacts.validations import MEASURES, ValidationMeasure
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.model_sizes import student_ids
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.settings.tuning import Choice, TriedSetting, Value


@dataclass(frozen=True)
class Search:
    """The search for the settings of one row of the main table."""

    pair: Pair
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
        values = sorted({setting.values[key] for setting in self.choice.tried})
        if len(values) == 1:
            return ""
        return "lowest" if value == values[0] else "highest" if value == values[-1] else ""


def _is_number(value: Value) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def searches(inputs: ReportInputs, results: Results) -> list[Search]:
    """Every search of a report, in the order of its tables; empty where nothing was tuned."""
    rows = ((pair, row) for pair in results.pairs for row in results.methods[pair])
    return [search for pair, row in rows if (search := _of(inputs, pair, row))]


def _of(inputs: ReportInputs, pair: Pair, row: Row) -> Search | None:
    first, *_ = student_ids(inputs, row)  # all seeds of a row have the same choice
    path = choice_path(inputs.manifests, f"students/{first}")
    if path not in inputs.choices:
        return None
    return Search(pair, row, inputs.choices[path], tuple(trial_paths(inputs.manifests, path)))


def choice_path(manifests: Mapping[str, Mapping[str, object]], student: str) -> str:
    """The choice that a student was trained at, as "stage/id"; empty where it had none."""
    made_from = manifests.get(student, {}).get("inputs", {})
    return str(made_from.get("choice", "")) if isinstance(made_from, dict) else ""


def trial_paths(manifests: Mapping[str, Mapping[str, object]], choice: str) -> Iterator[str]:
    """The trials that a choice was made among, as "stage/id"."""
    made_from = manifests.get(choice, {}).get("inputs", {})
    for role, path in made_from.items() if isinstance(made_from, dict) else ():
        if role.startswith("trial"):
            yield path


def described(values: Mapping[str, Value]) -> str:
    """A setting in words."""
    shown = (f"{value:g}" if _is_number(value) else value for value in values.values())
    return ", ".join(f"{key} {text}" for key, text in zip(values, shown, strict=True))


def how_chosen(found: Sequence[Search]) -> str:
    """How the settings of a report were chosen, in a few sentences; empty where they were given."""
    if not found:
        return ""
    search = found[0]  # all have as many trials, with the same seeds
    count, seeds = len(search.choice.tried), ", ".join(map(str, search.chosen.scores))
    return (
        f"Each method and student had {count} trials for each of the training seeds {seeds}. The "
        f"setting with the best mean {search.measure.title} on validation data was chosen, and the "
        "method was trained with it and with fresh seeds. No other trial was scored on test data."
    )
