"""Checks of what the report is to show: measures and rows that this experiment will have."""

from collections.abc import Iterator
from itertools import chain, product

from pipeline.reporting.analysis import published_numbers
from pipeline.reporting.analysis.metrics import METRICS, PASS_AT_K, PER_TOKEN
from pipeline.settings.contrasts import REFERENCES, Term
from pipeline.settings.evaluation import TEST_SPLIT_TASKS, Evaluation
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import HubModel
from pipeline.statistics.pass_at_k import ks_of
from pipeline.tasks import task_folder
from pipeline.tasks.definitions import InstructionTask, listed_tasks, tasks_with_responses
from workflow.config.wording import did_you_mean

RANKED = tuple(metric.name for metric in METRICS if metric.higher_is_better is not None)
OF_GENERATED_TEXT = ("rouge_l", "rouge_l_unicode")
OF_EXPOSURE = ("excess_error_percent", "kl_on_own_text_nats", "kl_on_teacher_text_nats")
OF_HELDOUT = RANKED[: RANKED.index("ece") + 1]
OVER_SPANS = ("span_kl_nats_per_byte", "span_top1_agreement")
OF_JUDGES = {
    "pairwise": ("judge_win", "judge_win_length_controlled"),
    "rubric": ("judge_score",),
    "reward": ("judge_reward",),
}
OF_OTHERS = (*OF_HELDOUT, *OVER_SPANS, *OF_EXPOSURE, *chain(*OF_JUDGES.values()))
OF_LM_EVAL = tuple(name for name in RANKED if name not in (*OF_OTHERS, "correct", PASS_AT_K))


def faults(experiment: Experiment) -> Iterator[str]:
    """A line for each measure that no evaluation has, and each term that no cell of the grid is."""
    choices = experiment.report
    yield from _measure_faults(experiment, "report.primary", choices.primary or [])
    for name, family in choices.contrasts.items():
        yield from _measure_faults(experiment, f"report.contrasts.{name}.measures", family.measures)
        for contrast, weights in family.contrasts.items():
            place = f"report.contrasts.{name}.contrasts.{contrast}"
            terms = list(map(Term.parse, weights))
            yield from _term_faults(experiment, place, terms)
            yield from _vocabulary_faults(experiment, place, family.measures, terms)


def _measure_faults(experiment: Experiment, place: str, keys: list[str]) -> Iterator[str]:
    known = known_measures(experiment.evaluation) if keys else []
    has_vocabularies = any(each.tokenizer for each in experiment.teachers.values())
    if keys and has_vocabularies and "heldout" in experiment.evaluation.tasks:
        known += [f"heldout/{metric}" for metric in ("bits_per_byte", *OVER_SPANS)]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            yield f"{place}.{index}: {key!r} is listed twice"
        elif not {key, key.partition(":")[0]} & set(known):
            meant = did_you_mean(key, known)
            yield f"{place}.{index}: unknown measure {key!r}; {meant}allowed: {', '.join(known)}"


def _term_faults(experiment: Experiment, place: str, terms: list[Term]) -> Iterator[str]:
    cells = _cells(experiment)
    for term in terms:
        if not any(term.includes(*cell) for cell in cells):
            methods = dict.fromkeys(method for method, _, _ in cells)
            yield (
                f"{place}: the grid has no cell {term}; METHOD@TEACHER@STUDENT is made of "
                f"{', '.join(methods)}; of {', '.join(experiment.teachers)}; and of "
                f"{', '.join(experiment.students)}"
            )
    if 0 < sum(term.method == "teacher" for term in terms) < len(terms):
        yield f"{place}: a teacher is one run and has no seeds in common with students"


def _vocabulary_faults(
    experiment: Experiment, place: str, measures: list[str], terms: list[Term]
) -> Iterator[str]:
    """Where scores that are means over tokens of different vocabularies are subtracted."""
    asked = {term.teacher for term in terms if term.method == "teacher"}
    teachers = {
        name: teacher
        for name, teacher in experiment.teachers.items()
        if None in asked or name in asked
    }
    # a pretrained tokenizer is that of its model; those trained by equal settings are equal
    vocabularies = {
        each.model if each.tokenizer == "own" else repr(each.tokenizer or experiment.tokenizer)
        for each in teachers.values()
    }
    per_token = [key for key in measures if key.rpartition("/")[2] in PER_TOKEN]
    if per_token and len(vocabularies) > 1:
        yield (
            f"{place}: {per_token[0]} is a mean over tokens, and {', '.join(teachers)} have "
            "different vocabularies; allowed: heldout/bits_per_byte, or teachers of one vocabulary"
        )


def _cells(experiment: Experiment) -> list[tuple[str, str, str]]:
    """Method, teacher and student of every row that the tables will have."""
    cells = (
        product((*REFERENCES, *block.methods), block.teachers, block.students)
        for block in experiment.blocks
    )
    return list(dict.fromkeys(chain.from_iterable(cells)))


def known_measures(evaluation: Evaluation) -> list[str]:
    """The measures with a better direction that tasks have, as task/metric.

    What lm-eval measures is known only after it has run: any metric with a direction passes.
    """
    of_split = {"heldout": OF_HELDOUT, "responses": OF_GENERATED_TEXT, "exposure": OF_EXPOSURE}
    tasks = evaluation.tasks
    metrics = {name: of_split[name] for name in tasks if name in TEST_SPLIT_TASKS}
    of_answers = ("correct", *(f"pass_at_{k}" for k in ks_of(len(evaluation.decoding_seeds))))
    own = task_folder.of_settings(evaluation)
    for task in listed_tasks(tasks):
        if not isinstance(task.definition, InstructionTask):
            of_folder = own.directions(task.base) if own else {}
            metrics[task.name] = tuple(dict.fromkeys([*of_folder, *OF_LM_EVAL]))
        elif task.definition.scored_by == "answers":
            metrics[task.name] = of_answers
        else:
            metrics[task.name] = OF_GENERATED_TEXT
    judged = (
        f"{task}/{metric}:{name}"
        for name, judge in evaluation.judges.items()
        for task in judge.tasks or tasks_with_responses(tasks)
        for metric in OF_JUDGES[judge.kind]
    )
    known = [f"{task}/{metric}" for task, names in metrics.items() for metric in names]
    return [*known, *judged]


def protocol_faults(experiment: Experiment) -> Iterator[str]:
    """A protocol without published numbers, or only with those of other models."""
    protocol = experiment.protocol
    if protocol is None:
        return
    if protocol not in (known := published_numbers.protocols()):
        allowed = ", ".join(known)
        yield f"protocol = {protocol!r}: no published numbers for it; allowed: {allowed}"
        return
    measured = published_numbers.pairs(protocol)
    teachers = _hub_names(
        experiment, [teacher.model for teacher in experiment.local_teachers.values()]
    )
    students = _hub_names(experiment, [student.model for student in experiment.students.values()])
    if not measured & set(product(teachers, students)):
        pairs = "; ".join(f"{teacher} to {student}" for teacher, student in sorted(measured))
        yield (
            f"protocol = {protocol!r}: its published numbers are for other models than this "
            f"experiment's; name these as models of source `hub`, or leave `protocol` out: {pairs}"
        )


def _hub_names(experiment: Experiment, names: list[str]) -> set[str]:
    models = [experiment.models[name] for name in names]
    return {model.name for model in models if isinstance(model, HubModel)}
