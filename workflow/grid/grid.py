"""The grid of an experiment: every artifact that it needs, and the cells of its tables."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pipeline.methods.catalogue import FINE_TUNING
from pipeline.methods.method import Method, ResolvedMethod, resolve
from pipeline.settings.experiment import Block, Experiment, MethodChoice
from pipeline.settings.models import LayersOf, PathModel, Shape
from pipeline.settings.training import Precision
from workflow.config.validate import merge, resolved_method
from workflow.grid import evaluations
from workflow.grid.artifact import Artifact
from workflow.grid.digests import of_examples, of_folder, with_text

Half = Literal["first", "second"]  # of the training prompts


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
        blocks = self.experiment.grid
        return list(dict.fromkeys(cell for block in blocks for cell in self._cells_of(block)))

    def _cells_of(self, block: Block) -> Iterator[Cell]:
        teachers = block.teachers or list(self.experiment.teachers)
        students = block.students or list(self.experiment.students)
        methods = block.methods or list(self.experiment.methods)
        for teacher in teachers:
            yield Cell("teacher", teacher, teacher, "teacher", 0, self.teacher(teacher))
        for teacher, student, seed in product(teachers, students, block.seeds):
            untrained = self.start_model(student, seed)
            yield Cell("untrained", teacher, student, "untrained", seed, untrained)
            if self.experiment.initial_sft is not None:
                start = self.start(student, seed)
                yield Cell("start", teacher, student, "start", seed, start)
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
        return evaluations.tasks(self.experiment, self.data())

    @cached_property
    def artifacts(self) -> dict[str, Artifact]:
        """Every artifact that the experiment needs, by its path."""
        artifacts: dict[str, Artifact] = {}
        waiting = [self.data(), *self.evaluations.values()]
        while waiting:
            artifact = waiting.pop()
            if artifact.path not in artifacts:
                artifacts[artifact.path] = artifact
                waiting += [input for _, input in artifact.inputs]
        return artifacts

    @cached_property
    def by_id(self) -> dict[str, Artifact]:
        """The same artifacts by id alone: a stage is a part of what the id is a digest of."""
        return {artifact.id: artifact for artifact in self.artifacts.values()}

    @cache
    def data(self) -> Artifact:
        """The examples. What they are read from enters their id: versions, or digests of files."""
        settings = self.experiment.data
        with_files = settings.model_copy(update={"template": with_text(settings.template)})
        dump = with_files.model_dump(mode="json")
        dump["examples"] |= of_examples(settings.examples)
        return Artifact.of("data", settings.examples.source, dump)

    @cache
    def tokenizer(self) -> Artifact:
        """The artifact with the tokenizer: trained on the data, or the first teacher's model."""
        tokenizer = self.experiment.tokenizer
        if tokenizer is not None:
            settings = tokenizer.model_dump(mode="json")
            return Artifact.of("tokenizers", "bpe", settings, ("data", self.data()))
        first_teacher = next(iter(self.experiment.teachers.values()))
        return self.model(first_teacher.model, seed=0)

    @cache
    def tokens(self) -> Artifact:
        """The examples as token ids."""
        settings = self.experiment.tokens.model_dump(mode="json")
        inputs = [("data", self.data()), ("tokenizer", self.tokenizer())]
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
        tokenizer = None
        if isinstance(model, Shape):
            del settings["tokenizer_of"]  # the input says it
            named = model.tokenizer_of
            tokenizer = self.model(named, seed=0) if named else self.tokenizer()
        return Artifact.of("models", name, settings, ("tokenizer", tokenizer), ("base", base))

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
        """A teacher's responses to the training prompts."""
        return self._generated(teacher, self.teacher(teacher))

    def _half_text(self, model: Artifact, half: Half) -> Artifact:
        return self._generated(f"{model.name}.{half}", model, half=half)

    def _generated(self, name: str, model: Artifact, **part: str) -> Artifact:
        settings = self.experiment.teacher_text.model_dump(mode="json") | part
        inputs = [("teacher", model), ("tokens", self.tokens())]
        return Artifact.of("texts", name, settings, *inputs)

    @cache
    def signals(
        self,
        teacher: str,
        own_text: bool = False,
        draws: int | None = None,
        precision: Precision | None = None,
    ) -> Artifact:
        """The cache of a teacher on the data, or on its own responses.

        `precision` is that of the student's training; None: that of the experiment's.
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
    def start(self, student: str, seed: int, row: str | None = None) -> Artifact:
        """The checkpoint from which methods train a student; `row`: one with an SFT of its own."""
        choice = self.experiment.methods[row] if row else None
        has_own = choice is not None and "initial_sft" in choice.model_fields_set
        initial_sft = choice.initial_sft if choice and has_own else self.experiment.initial_sft
        model = self.start_model(student, seed)
        if initial_sft is None:
            return model
        overrides = (self.experiment.students[student].training, initial_sft)
        settings = self._training(resolve(FINE_TUNING, {}), seed, *overrides)
        inputs = [("start", model), ("tokens", self.tokens())]
        return Artifact.of("starts", f"{student}.s{seed}", settings, *inputs)

    @cache
    def student(self, name: str, student: str, teacher: str, seed: int) -> Artifact:
        """A student trained by one method; without a teacher in its id where it needs none."""
        method = self.method(name)
        parts = [name, student, *([teacher] if method.teacher != "none" else [])]

        def train(texts: Sequence[Artifact], *stage: str) -> Artifact:
            artifact_name = ".".join([*parts, *stage, f"s{seed}"])
            return self._trained(artifact_name, name, student, teacher, seed, texts)

        if not method.relabelling_stages:
            return train([self.text(teacher)] if method.text == "teacher" else [])
        # paired students label the half of the prompts that they were not trained on
        model = self.teacher(teacher)
        first, second = self._half_text(model, "first"), self._half_text(model, "second")
        for stage in range(1, method.relabelling_stages + 1):
            of_first = train([first], f"stage{stage}.first")
            of_second = train([second], f"stage{stage}.second")
            first, second = self._half_text(of_second, "first"), self._half_text(of_first, "second")
        return train([first, second])

    def _trained(
        self,
        artifact: str,
        name: str,
        student: str,
        teacher: str,
        seed: int,
        texts: Sequence[Artifact],
    ) -> Artifact:
        method, choice = self.method(name), self.experiment.methods[name] or MethodChoice()
        overrides = (self.experiment.students[student].training, choice.training)
        settings = self._training(self._resolved(name), seed, *overrides)
        precision = settings["training"]["precision"]
        cached = self.signals(teacher, method.text == "teacher", method.draws, precision)
        return Artifact.of(
            "students",
            artifact,
            settings,
            ("start", self.start(student, seed, name)),
            ("tokens", self.tokens()),
            *(("texts", text) for text in texts),
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
        """The settings of a training job: everything that its result depends on."""
        return {
            "method": method.settings,
            "training": merge(self.experiment.training, *overrides).for_job(),
            "max_new_tokens": self.experiment.rollout_tokens,
            "seed": seed,
        }

    def describe(self) -> dict[str, Any]:
        """The settings of the report."""
        methods = {name: asdict(self.method(name)) for name in self.experiment.methods}
        return {
            "experiment": self.experiment.experiment,
            "data_id": self.data().id,
            "tokens_id": self.tokens().id,
            "methods": methods,
            "primary": self.experiment.report.primary or [],
            "config": self.experiment.model_dump(mode="json"),
            # as one text, because the order of its keys is that of tables and teachers
            "given": json.dumps(self.experiment.model_dump(mode="json", exclude_unset=True)),
        }
