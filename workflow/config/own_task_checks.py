"""Checks of a folder of the user's own tasks for lm-eval: what it is, and what its files say."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.data.datasets_library import FORMATS
from pipeline.settings.evaluation import TEST_SPLIT_TASKS, Evaluation
from pipeline.tasks import definitions, lm_eval_index, own_data, task_folder
from pipeline.tasks.task_folder import Definition, OwnTasks
from pipeline.tasks.task_yaml import why_not_run
from workflow.config.config_file import exists

KEY = "evaluation.task_folder"


def folder_faults(settings: Evaluation) -> Iterator[str]:
    """A folder that is none, that holds the results, or that can't be read as tasks."""
    folder = settings.task_folder
    if folder is None:
        return
    place = f"{KEY} = {folder!r}"
    if (own := task_folder.in_folder(folder)) is not None:
        yield from (f"{place}: {fault}; lm-eval would pass over the file" for fault in own.faults)
        if not own.definitions:
            yield f"{place}: no file *.yaml in it has `task` or `group`"
    elif exists(folder, Path.is_dir):
        yield (
            f"{place}: the results would be a part of it, and every file is a part of what its "
            "tasks are; make a folder for the tasks alone"
        )
    else:
        yield f"{place}: there is no such folder (a relative path starts at {Path.cwd()})"


def unused_faults(settings: Evaluation) -> Iterator[str]:
    """A folder whose tasks are not asked for."""
    own = task_folder.of_settings(settings)
    if own is not None and own.definitions and not any(map(own.of_name, settings.tasks)):
        yield (
            f"{KEY} = {settings.task_folder!r}: evaluation.tasks lists none of its tasks, which "
            f"are {', '.join(own.names)}"
        )


def task_faults(place: str, name: str, own: OwnTasks, settings: Evaluation) -> Iterator[str]:
    """Everything that is wrong with a task, group or tag of the folder."""
    reached, others = own.reached(name)
    for used in sorted({name, *(str(each.name) for each in reached)}):
        yield from _name_faults(place, used, own)
    for other in sorted(others):
        if not lm_eval_index.files(other):
            yield f"{place}: {name!r} has the member {other!r}, which is in no file of its own"
        elif reason := lm_eval_index.why_not_run(other):
            yield f"{place}: {name!r} has the member {other!r}, which is not supported: {reason}"
    for definition in reached:
        yield from (f"{place}: {fault}" for fault in _file_faults(definition, own.root))
        if not definition.is_group and name not in settings.data:
            yield from (f"{place}: {fault}" for fault in _data_faults(definition))


def _name_faults(place: str, name: str, own: OwnTasks) -> Iterator[str]:
    """A name that means something else, too: a score would pass for another task's."""
    files = [each.path for each in own.definitions if each.name == name]
    if len(files) > 1:
        yield f"{place}: {name!r} is in {' and in '.join(map(str, files))}; rename one"
    if lm_eval_index.files(name) or name in (*TEST_SPLIT_TASKS, *definitions.names()):
        owner = "lm-eval" if lm_eval_index.files(name) else "this benchmark"
        where = files[0] if files else own.root
        yield f"{place}: {name!r} is a name of {owner} and of {where}; rename yours"


def _file_faults(definition: Definition, root: Path) -> Iterator[str]:
    """What can't be kept with a digest, or is not run here."""
    path = definition.path
    if reason := why_not_run(definition.values):
        yield f"{path}: {definition.name!r} is not supported: {reason}"
    for included in sorted(definition.included):
        of_lm_eval = included.resolve().is_relative_to(lm_eval_index.root().resolve())
        if not (included.is_relative_to(root) or of_lm_eval):
            yield f"{path}: it includes {included}, outside of {root}; copy it into that"


def _data_faults(definition: Definition) -> Iterator[str]:
    """A task without documents, or whose files aren't there."""
    path, values = definition.path, definition.values
    if not values.get("dataset_path"):
        yield f"{path}: there is no dataset_path"
    if not (values.get("test_split") or values.get("validation_split")):
        yield f"{path}: there is neither test_split nor validation_split"
    if (data := definition.data) is None:
        return
    if data.path in FORMATS and not data.names:
        yield f"{path}: dataset_path = {data.path!r} needs its files in dataset_kwargs.data_files"
    for name in data.names:
        if "://" not in name and not own_data.matches(name):
            yield (
                f"{path}: there is no file {name!r}, neither from {Path.cwd()} nor from "
                f"{path.parent}"
            )
