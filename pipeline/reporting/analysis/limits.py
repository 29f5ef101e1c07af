"""The limits of a report: sentences on what can't be concluded from it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from pipeline.methods.method import Method
from pipeline.reporting.analysis import provenance, top_k_bias
from pipeline.reporting.analysis.contrasts import missing_contrasts
from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.own_tasks import metrics_of
from pipeline.reporting.analysis.provenance import Manifests
from pipeline.reporting.analysis.searches import Search, how_chosen, searches
from pipeline.reporting.analysis.standings import is_balanced
from pipeline.reporting.analysis.texts import counted
from pipeline.settings.report import ReportSettings
from pipeline.settings.teacher import CacheSettings
from pipeline.statistics.tests import smallest_p_value

BOUNDED = ("kl_to_teacher_nats", "reverse_kl_nats")  # from below, where a cache has the top K
ENOUGH_SEEDS = 10  # from which on the assumption of normal scores over seeds hardly matters


def limits(settings: ReportSettings, inputs: ReportInputs, comparisons: Comparisons) -> list[str]:
    """Every limit of a report: of seeds, tests, data, methods, measures and evaluations."""
    results = comparisons.results
    return [
        *limits_of_missing_cells(settings),
        *limits_of_seeds(comparisons),
        *limits_of_tests(comparisons),
        *limits_of_protocol(searches(inputs, results)),
        *limits_of_methods(settings.methods),
        *limits_of_measures(results.measures),
        *limits_of_choices(settings.primary, results.ranked_measures),
        *limits_of_contrasts(comparisons, settings),
        *limits_of_cache(settings, results.measures),
        *limits_of_evaluations(inputs.evaluation_manifests, inputs.manifests),
        *limits_of_own_tasks(inputs.manifests, (*results.measures, *results.slice_measures)),
        *limits_of_costs(inputs.manifests),
    ]


def limits_of_protocol(tuned: Sequence[Search]) -> Iterator[str]:
    """The limits of one data set and one protocol, and of a search for settings."""
    if not tuned:
        yield (
            "One data set, one protocol and one set of hyperparameters for each method: with other "
            "data, a longer budget or a search for each method the order may differ."
        )
        return
    yield (
        "One data set and one protocol: with other data, a longer budget or a wider search the "
        f"order may differ. {how_chosen(tuned)}"
    )
    if at_edge := dict.fromkeys(search.row.method for search in tuned if search.edges):
        yield (
            f"The chosen setting of {', '.join(at_edge)} lies at the edge of what was tried: a "
            "value beyond it may be better, and these methods may be shown below their best."
        )


def limits_of_missing_cells(settings: ReportSettings) -> Iterator[str]:
    """The cells that a partial report lacks."""
    if settings.missing:
        count = counted(len(settings.missing), "cell")
        methods = dict.fromkeys(cell.method for cell in settings.missing if cell.kind == "method")
        yield (
            f"A partial report: {count} of the grid missing"
            f"{' (' + ', '.join(methods) + ')' if methods else ''}. Ranks and corrected p-values "
            "will change with them."
        )


def limits_of_seeds(comparisons: Comparisons) -> Iterator[str]:
    """Limits due to few training seeds."""
    differences = [*chain.from_iterable(comparisons.differences.values())]
    tested = [each for each in differences if each.adjusted_p_value is not None]
    counts = sorted({difference.seed_count for difference in tested})
    if counts and counts[0] == 1:
        where = "" if counts == [1] else " The seeds column shows where there is only one."
        yield (
            "One training seed: the difference between two methods can't be told from the "
            "difference between two trainings of one method. Intervals, letters and p-values are "
            "over items alone: of these checkpoints, not of the methods that made them." + where
        )
    if least := next((count for count in counts if 1 < count < ENOUGH_SEEDS), 0):
        yield (
            f"{least} training seeds: a test without assumptions about how scores vary over seeds "
            f"can't give a p-value below {smallest_p_value(least):.3g}. The tests here assume "
            "normal scores over seeds, and learn from all methods of a cell how much seeds "
            "matter; the differences of a method that varies much more than the others are claimed "
            "too readily (docs/statistics.md says how often)."
        )
    if not is_balanced(comparisons.results):
        yield (
            "Methods have unequal training seeds: differences are over the seeds that two of them "
            "share, means over each method's own. Ranks take a seed to add the same to every "
            "method."
        )
    if any(each.adjusted_p_value is None and not each.is_copy for each in differences):
        yield (
            "Some methods have one training seed in common with the others, which have more: their "
            "differences are not tested, and such pairs share a letter."
        )


def limits_of_tests(comparisons: Comparisons) -> Iterator[str]:
    """The scope of the correction for multiple comparisons."""
    families: Counter[Measure] = Counter()
    for (_, measure), of_pair in comparisons.differences.items():
        families[measure] += sum(each.adjusted_p_value is not None for each in of_pair)
    if families:
        most = max(families.values())
        yield (
            f"At most one report in 20 makes a false claim on a given measure, over up to "
            f"{counted(most, 'comparison')} (Holm); measures are not corrected for each other. "
            "Intervals of differences are corrected in the same way, those of means are of one "
            "mean each. Sharing a letter does not show that methods are equal."
        )


def limits_of_methods(methods: Mapping[str, Method]) -> Iterator[str]:
    """Uncertainties of some methods as they are implemented here."""
    if abstracts := [name for name, method in methods.items() if method.evidence == "abstract"]:
        yield (
            f"Of {', '.join(abstracts)} no more than an abstract was read: a low score "
            "may be due to our reading of it."
        )
    if cached := [
        name
        for name, method in methods.items()
        if method.teacher == "cache" and method.compares_distributions
    ]:
        yield (
            f"{', '.join(cached)} saw the teacher's most likely tokens and one bucket for the "
            "rest, not its whole distribution."
        )


def limits_of_measures(measures: Sequence[Measure]) -> Iterator[str]:
    """Shortcomings of measures on the data that they were taken on."""
    names = {(measure.task, measure.metric.name) for measure in measures}
    for task, name in sorted(names):
        if name == "rouge_l_unicode":
            share = "only a part" if (task, "rouge_l") in names else "nothing"
            yield (
                f"The papers' ROUGE-L knows only words of a-z and 0-9 and sees {share} of the "
                f"references of {task}: read the column with Unicode words."
            )


def limits_of_contrasts(comparisons: Comparisons, settings: ReportSettings) -> Iterator[str]:
    """The contrasts that were asked for and have no value."""
    if missing := missing_contrasts(comparisons.contrasts, settings.contrasts):
        yield f"Contrasts without a value, as their rows have no scores: {', '.join(missing)}."


def limits_of_choices(primary: Sequence[str], ranked: Sequence[Measure]) -> Iterator[str]:
    """Measures that the configuration shows first, and that no evaluation has."""
    measured = [measure.key for measure in ranked]
    if missing := [key for key in primary if key not in measured]:
        yield f"Chosen as primary, but not measured: {', '.join(missing)}."


def limits_of_cache(settings: ReportSettings, measures: Sequence[Measure]) -> Iterator[str]:
    """What a cache of the teacher's top K tokens hides from measures, and from some losses."""
    cache = CacheSettings.model_validate(settings.config.get("teacher_cache", {}))
    if cache.whole_vocabulary:
        return
    if any(measure.metric.name in BOUNDED for measure in measures):
        yield (
            "KL and reverse KL to the teacher on held-out text are over its "
            f"{cache.k} most likely tokens and one bucket for all others: lower bounds of those "
            "over the whole vocabulary (teacher_cache.tier: hidden has these)."
        )
    yield from top_k_bias.warnings(settings.methods, cache.k, top_k_bias.measured_errors())


def limits_of_evaluations(evaluations: Manifests, inputs: Manifests) -> Iterator[str]:
    """Data that was left out, truncated, read as plain text, or asked behind examples.

    `inputs` are the manifests behind the evaluations, by "stage/id".
    """
    for path, manifest in inputs.items():
        if path.startswith("tokens/"):
            yield from (f"{warning}." for warning in manifest.get("warnings", []))
    jobs = [made["settings"]["task"] for path, made in inputs.items() if path.startswith("tasks/")]
    examples = {job["task"]: job["few_shot"] for job in jobs if job.get("few_shot")}
    for task, count in sorted(examples.items()):
        yield (
            f"{task} was asked with {counted(count, 'training example')} before each question "
            "(evaluation.few_shot): its scores can't be compared with those without."
        )
    for task, count in sorted(_largest_counts(evaluations, "left_out").items()):
        yield (
            f"{counted(count, 'item')} of {task} had prompts longer than "
            "evaluation.prompt_tokens and were left out for all models."
        )
    for task, count in sorted(_largest_counts(evaluations, "cut").items()):
        truncated = sum(bool(each.get("cut", {}).get(task)) for each in evaluations.values())
        yield (
            f"Texts of {task} were left-truncated to the models' context windows, as in lm-eval: "
            f"up to {count}, in {truncated} of {len(evaluations)} checkpoints. Models with a "
            "shorter context saw less of them."
        )


def limits_of_own_tasks(inputs: Manifests, measures: Sequence[Measure]) -> Iterator[str]:
    """Metrics of tasks of the user's own that are not among the measures."""
    shown = {(measure.task, measure.metric.name.partition(":")[0]) for measure in measures}
    for task, metrics in metrics_of(inputs).items():
        if missing := [name for name in metrics if (task, name) not in shown]:
            yield (
                f"Not shown of {task}: {', '.join(missing)}. A metric is shown where its aggregate "
                "is the mean over items; others are in the results.json of each evaluation."
            )


def limits_of_costs(manifests: Manifests) -> Iterator[str]:
    """Artifacts that were deleted, and whose costs are unknown."""
    if lost := {
        input
        for manifest in manifests.values()
        for role, input in manifest.get("inputs", {}).items()
        if provenance.is_lost(role, input, manifests)
    }:
        yield (
            f"Deleted, so that what they cost is not known: {', '.join(sorted(lost))}. The costs "
            "of the whole grid are without them, and what was trained on them has no cost in full."
        )


def _largest_counts(evaluations: Manifests, name: str) -> dict[str, int]:
    """The largest count of any evaluation by task, without zeros."""
    counts: Counter[str] = Counter()
    for manifest in evaluations.values():
        counts |= Counter(manifest.get(name, {}))  # the larger of two counts, without zeros
    return counts
