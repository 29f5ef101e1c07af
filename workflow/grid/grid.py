"""The grid of an experiment: every artifact that it needs, and the cells of its tables."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import product
from typing import Any

from pipeline.methods.catalogue import FINE_TUNING
from pipeline.methods.method import Method, ResolvedMethod, resolve
from pipeline.settings.experiment import Experiment, FullBlock
from pipeline.settings.judge import Judge
from pipeline.settings.models import LayersOf, Shape, Tokenizer
from pipeline.settings.training import Precision
from workflow.config.method_checks import resolved_method
from workflow.config.trials import Trial, merge
from workflow.grid import evaluations
from workflow.grid.artifact import Artifact, reachable
from workflow.grid.cell import Cell
from workflow.grid.digests import model_settings, of_examples, with_text
from workflow.grid.evaluations import EXPOSURE
from workflow.grid.judgements import Rivals, judged, model_of_judge
from workflow.grid.students import Half, Row
from workflow.grid.tuning import trials_of


@dataclass(frozen=True, eq=False)
class Grid:
    """An experiment's cells, and how each checkpoint in them comes about."""

    experiment: Experiment

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, in the order of the configuration, none twice."""
        blocks = self.experiment.blocks
        return list(dict.fromkeys(cell for block in blocks for cell in self._cells_of(block)))

    def _cells_of(self, block: FullBlock) -> Iterator[Cell]:
        for teacher in block.teachers:
            if teacher in self.experiment.local_teachers:
                yield Cell("teacher", teacher, teacher, "teacher", 0, self.teacher(teacher))
        for teacher, student, seed in product(block.teachers, block.students, block.seeds):
            untrained, start = self.start_model(student, seed), self.start(student, seed)
            yield Cell("untrained", teacher, student, "untrained", seed, untrained)
            if self.experiment.initial_sft is not None:
                yield Cell("start", teacher, student, "start", seed, start)
            for method in block.methods:
                trained = self.student(method, student, teacher, seed)
                yield Cell("method", teacher, student, method, seed, trained)

    @cached_property
    def evaluations(self) -> dict[Artifact, Artifact]:
        """The evaluation of each checkpoint: against every teacher that it is shown beside."""
        teachers: dict[Artifact, set[str]] = {}
        tokens: dict[Artifact, Artifact] = {}
        for cell in self.cells:
            teachers.setdefault(cell.model, set()).add(cell.teacher)
            own = cell.teacher if cell.kind == "teacher" else None
            tokens.setdefault(cell.model, self.tokens(own))
        written = {
            model: self._evaluation(model, names, tokens[model])
            for model, names in teachers.items()
        }
        rivals = Rivals(self.cells, written)
        return judged(self.experiment.evaluation, rivals, self._judging_inputs)

    def _judging_inputs(self, judge: Judge) -> list[tuple[str, Artifact]]:
        """What a judging job reads beside evaluations, by role."""
        data = ("data", self.data())
        if judge.endpoint is not None:
            return [data]
        return [("judge", model_of_judge(judge, self.model(judge.model, seed=0))), data]

    def _evaluation(self, model: Artifact, names: set[str], tokens: Artifact) -> Artifact:
        teachers = sorted(names & self.experiment.local_teachers.keys())
        settings, template = self.experiment.evaluation, self.experiment.data.template
        # of all teachers: every model is evaluated on the texts that each vocabulary has
        alignments = list(filter(None, map(self.alignment, self.experiment.teachers)))
        return Artifact.of(
            "evals",
            model.name,
            evaluations.job(settings, template, per_byte=bool(alignments)).model_dump(mode="json"),
            ("model", model),
            *(("task", task) for task in self.tasks),
            *(("teacher", self.teacher(name)) for name in teachers if EXPOSURE in settings.tasks),
            ("data", self.data()),
            ("tokens", tokens),
            *(("cache", self.signals(name)) for name in teachers),
            *(("alignment", alignment) for alignment in alignments),
        )

    @cached_property
    def tasks(self) -> list[Artifact]:
        """The tasks that have items of their own."""
        return evaluations.tasks(
            self.experiment.evaluation, self.data(), self.experiment.data.template
        )

    @cached_property
    def artifacts(self) -> dict[str, Artifact]:
        """Every artifact that the experiment needs, by its path."""
        return reachable([self.data(), *self.evaluations.values()])

    @cached_property
    def trials(self) -> frozenset[Artifact]:
        """The students that are trained for nothing but a choice."""
        trained = {trial for cell in self.cells for trial in trials_of(cell.model)}
        return frozenset(trained.difference(self.evaluations))

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
    def tokenizer(self, teacher: str | None = None) -> Artifact:
        """The artifact with the students' tokenizer, or a teacher's where that has its own.

        It is trained on the data, or a model's: the students' is that of the first model which
        shares it, a teacher's if there is one at hand.
        """
        own = self.experiment.teachers[teacher].tokenizer if teacher else None
        if teacher and own == "own":
            return self.model(self.experiment.teachers[teacher].model, seed=0)
        trained = own or self.experiment.tokenizer
        if isinstance(trained, Tokenizer):
            settings = trained.model_dump(mode="json")
            return Artifact.of("tokenizers", trained.kind, settings, ("data", self.data()))
        local = self.experiment.local_teachers.values()
        sharing = [each for each in local if each.tokenizer is None]
        first = [*sharing, *self.experiment.students.values()][0]
        return self.model(first.model, seed=0)

    @cache
    def tokens(self, teacher: str | None = None) -> Artifact:
        """The examples as token ids of the students, or of a teacher."""
        settings = self.experiment.tokens.model_dump(mode="json")
        inputs = [("data", self.data()), ("tokenizer", self.tokenizer(teacher))]
        return Artifact.of("tokens", self.data().name, settings, *inputs)

    @cache
    def alignment(self, teacher: str) -> Artifact | None:
        """The spans that a teacher's tokens share with the students'; None where they are equal."""
        own, shared = self.tokens(teacher), self.tokens()
        inputs = [("teacher_tokens", own), ("tokens", shared)]
        return Artifact.of("alignments", teacher, {}, *inputs) if own != shared else None

    @cache
    def model(self, name: str, seed: int, tokenizer: Artifact | None = None) -> Artifact:
        """A model before training. Only fresh weights depend on a seed, and may have a tokenizer.

        Without one, a shape has that of the students, or of the model that it names.
        """
        model = self.experiment.models[name]
        base = self.model(model.model, seed, tokenizer) if isinstance(model, LayersOf) else None
        if isinstance(model, Shape) and tokenizer is None:
            named = model.tokenizer_of
            tokenizer = self.model(named, seed=0) if named else self.tokenizer()
        read = tokenizer if isinstance(model, Shape) else None
        settings = model_settings(self.experiment.models, name, seed)
        return Artifact.of("models", name, settings, ("tokenizer", read), ("base", base))

    @cache
    def teacher(self, name: str) -> Artifact:
        """A fine-tuned teacher, or its model where it is not to be trained."""
        teacher = self.experiment.teachers[name]
        trained = self.tokenizer(name) if isinstance(teacher.tokenizer, Tokenizer) else None
        model = self.model(teacher.model, self.experiment.seed, trained)
        if teacher.training is None:
            return model
        settings = self.training(resolve(FINE_TUNING, {}), self.experiment.seed, teacher.training)
        inputs = [("start", model), ("tokens", self.tokens(name))]
        return Artifact.of("teachers", name, settings, *inputs)

    @cache
    def text(self, teacher: str, half: Half | None = None) -> Artifact:
        """A teacher's responses to the training prompts, or to half of them."""
        name = f"{teacher}.{half}" if half else teacher
        if teacher in self.experiment.local_teachers:
            model = self.teacher(teacher)
            name = f"{model.name}.{half}" if half else teacher
            return self.generated(name, model, self.tokens(teacher), half)
        served, endpoint = self.experiment.endpoints[f"teachers.{teacher}"]
        # the address is left out: the same model at another address writes the same
        settings = self._text_settings(half) | {"served_model": served, "api": endpoint.api}
        inputs = [("data", self.data()), ("tokens", self.tokens())]
        return Artifact.of("texts", name, settings, *inputs)

    def generated(self, name: str, model: Artifact, own: Artifact, half: Half | None) -> Artifact:
        """What a model writes in its own tokens, in those of the students."""
        shared = self.tokens()
        inputs = [("teacher", model), ("tokens", own)]
        rewritten = ("student_tokens", shared if own != shared else None)
        return Artifact.of("texts", name, self._text_settings(half), *inputs, rewritten)

    def _text_settings(self, half: Half | None) -> dict[str, Any]:
        settings = self.experiment.teacher_text.model_dump(mode="json")
        return settings | ({"half": half} if half else {})

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
        tokens = self.text(teacher) if own_text else self.tokens(teacher)
        inputs = [("teacher", self.teacher(teacher)), ("tokens", tokens)]
        return Artifact.of("caches", teacher, settings, *inputs)

    def start_model(self, student: str, seed: int) -> Artifact:
        """A student before any training; fresh weights are drawn once for each training seed."""
        return self.model(self.experiment.students[student].model, seed)

    @cache
    def start(self, student: str, seed: int, row: str | None = None) -> Artifact:
        """The checkpoint from which methods train a student; `row`: one with an SFT of its own."""
        choice = self.experiment.rows[row] if row else None
        has_own = choice is not None and "initial_sft" in choice.model_fields_set
        initial_sft = choice.initial_sft if choice and has_own else self.experiment.initial_sft
        model = self.start_model(student, seed)
        if initial_sft is None:
            return model
        overrides = (self.experiment.students[student].training, initial_sft)
        settings = self.training(resolve(FINE_TUNING, {}), seed, *overrides)
        inputs = [("start", model), ("tokens", self.tokens())]
        return Artifact.of("starts", f"{student}.s{seed}", settings, *inputs)

    @cache
    def row(self, name: str, student: str, teacher: str) -> Row:
        """A method on a student and a teacher: all of its seeds and trials."""
        return Row(self, name, student, teacher)

    @cache
    def student(
        self, name: str, student: str, teacher: str, seed: int, trial: Trial | None = None
    ) -> Artifact:
        """A student trained by one method: at a trial's settings, its row's, or the chosen."""
        return self.row(name, student, teacher).trained(seed, trial)

    def method(self, name: str) -> Method:
        """The method behind a row of the tables."""
        return self.resolved_method(name).method

    @cache
    def resolved_method(self, name: str) -> ResolvedMethod:
        """The method behind a row of the tables, with all its settings."""
        return resolved_method(name, self.experiment.methods[name])

    def training(
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
            "contrasts": self.experiment.model_dump(mode="json")["report"].get("contrasts", {}),
            "config": self.experiment.model_dump(mode="json"),
            # as one text, because the order of its keys is that of tables and teachers
            "given": json.dumps(self.experiment.model_dump(mode="json", exclude_unset=True)),
        }
