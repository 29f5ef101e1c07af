"""The students of one row of the tables: from which texts, by which teacher, at which settings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pipeline.methods.method import Method
from pipeline.settings.teacher import Combination
from pipeline.settings.training import Precision
from pipeline.settings.tuning import without_values
from workflow.config.method_checks import resolved_method
from workflow.config.trials import Trial, places, trials, values_to_try, with_trial
from workflow.grid.artifact import Artifact
from workflow.grid.tuning import choice_among, chosen_places

if TYPE_CHECKING:  # a grid asks its rows for their students, and they ask it for what these read
    from workflow.grid.grid import Grid

Half = Literal["first", "second"]  # of the training prompts


@dataclass(frozen=True, eq=False)
class Row:
    """A method on a student and a teacher: all of its seeds and trials."""

    grid: "Grid"
    name: str
    student: str
    teacher: str

    @property
    def method(self) -> Method:
        """The row's method."""
        return self.grid.method(self.name)

    @property
    def readable(self) -> str:
        """The readable part of the ids of its students and choices."""
        several = self.grid.experiment.rows[self.name].teachers
        teachers = several.names if several else [self.teacher]
        return ".".join([self.name, self.student, *(teachers if self.method.names_teacher else [])])

    @cached_property
    def choice(self) -> Artifact | None:
        """The choice among its trials; None where nothing is tuned."""
        experiment = self.grid.experiment
        tuning = experiment.tuning
        if tuning is None:
            return None
        trained = [
            self.grid.student(self.name, self.student, self.teacher, seed, trial)
            for trial in trials(experiment, self.name)
            for seed in tuning.seeds
        ]
        method = self.grid.resolved_method(self.name)
        by_key = {key: places(key, method) for key in values_to_try(experiment, self.name)}
        return choice_among(self.readable, tuning, by_key, trained)

    def trained(self, seed: int, trial: Trial | None) -> Artifact:
        """Its student of a training seed: at a trial's settings, its own, or the chosen."""
        text = self.grid.text
        if not self.method.relabelling_stages:
            texts = [text(self.teacher)] if self.method.text == "teacher" else []
            return self._trained("", seed, trial, texts)
        # paired students label each other's half of the prompts, before a last one is trained
        first, second = text(self.teacher, "first"), text(self.teacher, "second")
        for stage in range(1, self.method.relabelling_stages + 1):
            of_first = self._trained(f".stage{stage}.first", seed, trial, [first])
            of_second = self._trained(f".stage{stage}.second", seed, trial, [second])
            first, second = self._labels(of_second, "first"), self._labels(of_first, "second")
        return self._trained("", seed, trial, [first, second])

    def _labels(self, model: Artifact, half: Half) -> Artifact:
        return self.grid.generated(f"{model.name}.{half}", model, self.grid.tokens(), half)

    def _trained(
        self, part: str, seed: int, trial: Trial | None, texts: Sequence[Artifact]
    ) -> Artifact:
        grid, experiment = self.grid, self.grid.experiment
        choice = with_trial(experiment.rows[self.name], dict(trial or ()))
        overrides = (experiment.students[self.student].training, choice.training)
        settings = grid.training(resolved_method(self.name, choice), seed, *overrides)
        several, precision = choice.teachers, settings["training"]["precision"]
        if several is not None:
            settings["method"]["teachers"] = several.model_dump(mode="json")
        chosen = None if trial else self.choice
        if chosen is not None:
            settings = without_values(settings, chosen_places(chosen))
        return Artifact.of(
            "students",
            f"{self.readable}{part}.s{seed}",
            settings,
            ("start", grid.start(self.student, seed, self.name)),
            ("tokens", grid.tokens()),
            *(("texts", text) for text in texts),
            *(self._of_teacher(precision) if several is None else self._of(several, precision)),
            ("choice", chosen),
        )

    def _of_teacher(self, precision: Precision) -> Iterator[tuple[str, Artifact | None]]:
        """What a student reads of its one teacher, beside texts, by role."""
        grid, method = self.grid, self.method
        if method.teacher == "live":
            yield "teacher", grid.teacher(self.teacher)
        if method.teacher == "cache":
            draws, own_text = method.cached_draws, method.text == "teacher"
            yield "cache", grid.signals(self.teacher, own_text, draws, precision)
        if method.teacher in ("live", "cache"):
            yield "alignment", grid.alignment(self.teacher)

    def _of(
        self, several: Combination, precision: Precision
    ) -> Iterator[tuple[str, Artifact | None]]:
        """What a student of several teachers reads: their caches, and where texts are from."""
        for name in several.names:
            yield "member", self.grid.signals(name, False, self.method.cached_draws, precision)
        if several.combine == "by_source":
            yield "data", self.grid.data()
