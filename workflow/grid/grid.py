"""The grid of an experiment: every artifact that it needs, and the cells of its tables."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

from pipeline.methods.catalogue import FINE_TUNING
from pipeline.methods.method import Method, ResolvedMethod, resolve
from pipeline.settings.experiment import Experiment, MethodChoice
from pipeline.settings.models import LayersOf, PathModel, Shape
from pipeline.settings.training import Precision
from workflow.config.validate import merge, resolved_method
from workflow.grid import evaluations, relabelling
from workflow.grid.artifact import Artifact
from workflow.grid.digests import of_examples, of_folder


@dataclass(frozen=True)
class Cell:
    """A row of `grid.csv`: a checkpoint as one teacher's tables show it."""

    kind: str  # method, teacher, untrained or start
    teacher: str
    student: str
    method: str
    seed: int
    model: Artifact


@dataclass(frozen=True, eq=False)
class Grid:
    """An experiment's cells, and how each checkpoint in them comes about."""

    experiment: Experiment

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, in the order of the configuration, none twice."""
        return list(
            dict.fromkeys(cell for block in self.experiment.grid for cell in self._of(block))
        )

    def _of(self, block: Any) -> Iterator[Cell]:
        one = self.experiment
        teachers = block.teachers or list(one.teachers)
        students = block.students or list(one.students)
        methods = block.methods or list(one.methods)
        for teacher in teachers:
            yield Cell("teacher", teacher, teacher, "teacher", 0, self.teacher(teacher))
        for teacher, student, seed in product(teachers, students, block.seeds):
            floor = self.start_model(student, seed)
            yield Cell("untrained", teacher, student, "untrained", seed, floor)
            if one.initial_sft is not None:
                warm = self.start(student, seed)
                yield Cell("start", teacher, student, "start", seed, warm)
            for method in methods:
                trained = self.student(method, student, teacher, seed)
                yield Cell("method", teacher, student, method, seed, trained)

    @cached_property
    def evaluations(self) -> dict[Artifact, Artifact]:
        """The evaluation of each checkpoint: against every teacher that it is shown beside."""
        teachers: dict[Artifact, set[str]] = {}
        for cell in self.cells:
            teachers.setdefault(cell.model, set()).add(cell.teacher)
        return {model: self._evaluation(model, names) for model, names in teachers.items()}

    def _evaluation(self, model: Artifact, names: Iterable[str]) -> Artifact:
        teachers = sorted(names)
        return evaluations.of_model(
            self.experiment.evaluation,
            model,
            self.tasks,
            [self.teacher(name) for name in teachers],
            ("data", self.data()),
            ("tokens", self.tokens()),
            *(("cache", self.signals(name)) for name in teachers),
        )

    @cached_property
    def tasks(self) -> list[Artifact]:
        """The tasks that have items of their own."""
        return evaluations.tasks(self.experiment.evaluation, self.data())

    @cached_property
    def artifacts(self) -> dict[str, Artifact]:
        """Every artifact that the experiment needs, by stage and id."""
        found: dict[str, Artifact] = {}
        waiting = [self.data(), *self.evaluations.values()]
        while waiting:
            one = waiting.pop()
            if one.path not in found:
                found[one.path] = one
                waiting += [other for _, other in one.inputs]
        return found

    @cached_property
    def by_id(self) -> dict[str, Artifact]:
        """The same artifacts by id alone: a stage is a part of what the id is a digest of."""
        return {one.id: one for one in self.artifacts.values()}

    @cache
    def data(self) -> Artifact:
        """The examples. What they are read from enters their id: versions, or digests of files."""
        settings = self.experiment.data
        dump = settings.model_dump(mode="json")
        dump["examples"] |= of_examples(settings.examples)
        return Artifact.of("data", settings.examples.source, dump)

    @cache
    def words(self) -> Artifact:
        """What carries the tokenizer: trained on the data, or beside the first teacher's model."""
        one = self.experiment
        if one.tokenizer is not None:
            settings = one.tokenizer.model_dump(mode="json")
            return Artifact.of("tokenizers", "bpe", settings, ("data", self.data()))
        return self.model(next(iter(one.teachers.values())).model, seed=0)

    @cache
    def tokens(self) -> Artifact:
        """The examples as token ids."""
        settings = self.experiment.tokens.model_dump(mode="json")
        inputs = [("data", self.data()), ("tokenizer", self.words())]
        return Artifact.of("tokens", self.data().name, settings, *inputs)

    @cache
    def model(self, name: str, seed: int) -> Artifact:
        """A model before training. Only fresh weights depend on a seed."""
        model = self.experiment.models[name]
        settings = model.model_dump(mode="json") | {"seed": seed if isinstance(model, Shape) else 0}
        base = None
        if isinstance(model, LayersOf):
            base = self.model(model.model, seed)
            settings["model"] = "base"  # the input's role: its name is of this configuration alone
            if isinstance(self.experiment.models[model.model], Shape):
                settings["seed"] = seed
        if isinstance(model, PathModel):
            settings["digest"] = of_folder(Path(model.path))
        words = self.words() if isinstance(model, Shape) else None
        return Artifact.of("models", name, settings, ("tokenizer", words), ("base", base))

    @cache
    def teacher(self, name: str) -> Artifact:
        """A fine-tuned teacher, or its model where it is not to be trained."""
        teacher = self.experiment.teachers[name]
        model = self.model(teacher.model, self.experiment.seed)
        if teacher.training is None:
            return model
        settings = self._training(resolve(FINE_TUNING, {}), self.experiment.seed, teacher.training)
        inputs = [("start", model), ("tokens", self.tokens())]
        return Artifact.of("teachers", name, settings, *inputs)

    @cache
    def text(self, teacher: str) -> Artifact:
        """What a teacher writes for training prompts."""
        return self._written(teacher, self.teacher(teacher))

    def _half(self, writer: Artifact, half: relabelling.Half) -> Artifact:
        return self._written(f"{writer.name}.{half}", writer, half=half)

    def _written(self, name: str, writer: Artifact, **part: str) -> Artifact:
        settings = self.experiment.teacher_text.model_dump(mode="json") | part
        inputs = [("teacher", writer), ("tokens", self.tokens())]
        return Artifact.of("texts", name, settings, *inputs)

    @cache
    def signals(
        self,
        teacher: str,
        own_text: bool = False,
        draws: int | None = None,
        precision: Precision | None = None,
    ) -> Artifact:
        """A teacher's signal on the data, or on the text that it wrote itself.

        `precision` is that of whoever learns from it; None: that of the experiment's training.
        """
        settings = self.experiment.teacher_cache.model_dump(mode="json")
        precision = precision or self.experiment.training.precision
        if precision != "auto":  # so that a cache of the default keeps its id
            settings["precision"] = precision
        if own_text or draws:
            settings["splits"] = ["train"]
        if draws:
            settings |= {"draws": draws, "seed": self.experiment.seed}
            settings.pop("tier", None)  # draws take its place
        tokens = self.text(teacher) if own_text else self.tokens()
        inputs = [("teacher", self.teacher(teacher)), ("tokens", tokens)]
        return Artifact.of("caches", teacher, settings, *inputs)

    def start_model(self, student: str, seed: int) -> Artifact:
        """A student before any training; fresh weights are drawn once for each training seed."""
        return self.model(self.experiment.students[student].model, seed)

    @cache
    def start(self, student: str, seed: int) -> Artifact:
        """What all methods of a student begin from."""
        one = self.experiment
        model = self.start_model(student, seed)
        if one.initial_sft is None:
            return model
        settings = self._training(
            resolve(FINE_TUNING, {}), seed, one.students[student].training, one.initial_sft
        )
        inputs = [("start", model), ("tokens", self.tokens())]
        return Artifact.of("starts", f"{student}.s{seed}", settings, *inputs)

    @cache
    def student(self, name: str, student: str, teacher: str, seed: int) -> Artifact:
        """A student trained by one method; without a teacher in its id where it needs none."""
        method = self.method(name)
        parts = [name, student, *([teacher] if method.teacher != "none" else [])]

        def train(texts: Sequence[Artifact], *place: str) -> Artifact:
            named = ".".join([*parts, *place, f"s{seed}"])
            return self._trained(named, name, student, teacher, seed, texts)

        if method.relabelling_stages:
            writer = self.teacher(teacher)
            return train(
                relabelling.labels(
                    writer, method.relabelling_stages, self._half, lambda one, at: train([one], at)
                )
            )
        return train([self.text(teacher)] if method.text == "teacher" else [])

    def _trained(
        self,
        artifact: str,
        name: str,
        student: str,
        teacher: str,
        seed: int,
        texts: Sequence[Artifact],
    ) -> Artifact:
        one, method = self.experiment, self.method(name)
        choice = one.methods[name] or MethodChoice()
        overrides = (one.students[student].training, choice.training)
        settings = self._training(self._resolved(name), seed, *overrides)
        precision = settings["training"]["precision"]
        cached = self.signals(teacher, method.text == "teacher", method.draws, precision)
        return Artifact.of(
            "students",
            artifact,
            settings,
            ("start", self.start(student, seed)),
            ("tokens", self.tokens()),
            *(("texts", one) for one in texts),
            ("cache", cached if method.teacher == "cache" else None),
            ("teacher", self.teacher(teacher) if method.teacher == "live" else None),
        )

    def method(self, name: str) -> Method:
        """The method behind a row of the tables."""
        return self._resolved(name).method

    @cache
    def _resolved(self, name: str) -> ResolvedMethod:
        return resolved_method(name, self.experiment.methods[name])

    def _training(
        self, method: ResolvedMethod, seed: int, *overrides: dict[str, Any]
    ) -> dict[str, Any]:
        """The settings of a training job: exactly what it may know."""
        return {
            "method": method.settings,
            "training": merge(self.experiment.training, *overrides).model_dump(mode="json"),
            "max_new_tokens": self.experiment.rollout_tokens,
            "seed": seed,
        }

    def describe(self) -> dict[str, Any]:
        """What the report may know beside its files."""
        methods = {name: asdict(self.method(name)) for name in self.experiment.methods}
        return {
            "experiment": self.experiment.experiment,
            "data_id": self.data().id,
            "tokens_id": self.tokens().id,
            "methods": methods,
            "config": self.experiment.model_dump(mode="json"),
            # as one text, for the order of its keys decides: of tables, and of the first teacher
            "given": json.dumps(self.experiment.model_dump(mode="json", exclude_unset=True)),
        }
