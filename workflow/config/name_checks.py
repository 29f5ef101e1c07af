"""Checks of the names in a configuration: those that mean something else, and unknown ones."""

from collections.abc import Iterator, Mapping, Set

from pipeline.artifacts.stages import STAGES
from pipeline.methods.catalogue import METHODS
from pipeline.settings.base import Settings
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import LayersOf, Shape
from workflow.config.wording import repeated

# folders of results/ that hold no experiment
FOLDERS = (*STAGES, "jobs", "logs", "benchmarks", "state", "sources", "damaged", "published")
ROW_KINDS = ("teacher", "untrained", "start")  # names of the report's rows without a method


def name_faults(experiment: Experiment) -> Iterator[str]:
    """Names that stand for something else where they are written, or are listed twice."""
    if experiment.experiment in FOLDERS:
        yield (
            f"experiment = {experiment.experiment!r}: results/{experiment.experiment} holds "
            f"something else; allowed: any name but {', '.join(FOLDERS)}"
        )
    names = {"methods": experiment.methods, "students": experiment.students}
    for role, name in ((role, name) for role, named in names.items() for name in named):
        if name in ROW_KINDS:
            yield (
                f"{role}.{name}: the report uses this name for rows without a method; allowed: "
                f"any other than {', '.join(ROW_KINDS)}"
            )
    for row, choice in experiment.rows.items():
        if choice.method and choice.method != row and row in METHODS:
            yield (
                f"methods.{row}.method = {choice.method!r}: {row} is the name of another method; "
                "give the row a name of its own"
            )
    for index, block in enumerate(experiment.grid):
        for key, values in block:
            twice = repeated(values or [])
            yield from (f"grid.{index}.{key}: {value!r} is listed twice" for value in twice)


def reference_faults(experiment: Experiment, left_out: Set[str]) -> Iterator[str]:
    """Names that nothing defines. Those of `left_out` are defined, but faulty."""
    models = experiment.models
    uses = [
        (f"{role.removeprefix('local_')}.{name}.model", user.model, models)
        for role in ("local_teachers", "students")
        for name, user in getattr(experiment, role).items()
    ]
    uses += [
        (f"models.{name}.model", model.model, models)
        for name, model in models.items()
        if isinstance(model, LayersOf)
    ]
    uses += [
        (f"grid.{index}.{role}", name, getattr(experiment, role))
        for index, block in enumerate(experiment.grid)
        for role in ("teachers", "students", "methods")
        for name in getattr(block, role) or []
    ]
    uses += [
        (f"evaluation.judges.{name}.model", judge.model, models)
        for name, judge in experiment.evaluation.judges.items()
        if judge.endpoint is None
    ]
    for key, name, defined in uses:
        if name not in defined and name not in left_out:
            yield f"{key}: {name!r} is not defined; there are {', '.join(defined)}"


def filled_in_faults(value: object, key: str = "") -> Iterator[str]:
    """Keys that the workflow sets, such as digests of files."""
    if isinstance(value, Settings):
        names = value.model_fields_set.intersection(value.filled_in)
        yield from (f"{key}.{name}: the workflow sets this key; leave it out" for name in names)
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from filled_in_faults(inner, f"{key}.{name}".lstrip("."))


def unused(experiment: Experiment) -> list[str]:
    """The keys of what no cell of the grid uses."""
    roles = ("teachers", "students", "methods")
    used = {
        role: {name for block in experiment.blocks for name in getattr(block, role)}
        for role in roles
    }
    for row, choice in experiment.rows.items():
        if row in used["methods"] and choice.teachers:
            used["teachers"].update(choice.teachers.names)
    users = [getattr(experiment, role)[name] for role in roles[:2] for name in used[role]]
    users += experiment.evaluation.judges.values()
    models = {user.model for user in users} & experiment.models.keys()
    used["models"] = models | _bases(experiment, models)
    return [
        f"{role}.{name}"
        for role, names in used.items()
        for name in getattr(experiment, role)
        if name not in names
    ]


def _bases(experiment: Experiment, names: set[str]) -> set[str]:
    """The models that others have layers or tokenizers of."""
    bases = set()
    for model in (experiment.models[name] for name in names):
        if isinstance(model, LayersOf):
            bases.add(model.model)
        if isinstance(model, Shape) and model.tokenizer_of:
            bases.add(model.tokenizer_of)
    return bases | _bases(experiment, bases) if bases else bases
