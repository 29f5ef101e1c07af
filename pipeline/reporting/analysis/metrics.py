"""How each metric is shown: its title, unit, better direction and number of decimals."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

ROUNDING = 1e-9  # of a mean of values that are all the largest possible


@dataclass(frozen=True)
class Metric:
    """How a metric is shown."""

    name: str
    title: str
    unit: str
    higher_is_better: bool | None  # None for a descriptive metric, by which nothing is ranked
    decimals: int
    relative_to_teacher: bool = False  # so the teacher's own value is meaningless
    signed: bool = False  # can be below zero

    @property
    def arrow(self) -> str:
        """An arrow in the better direction; empty for a descriptive metric."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest possible value."""
        highest = {"share": 1.0, "0-100": 100.0}.get(self.unit, math.inf)
        return -math.inf if self.signed else 0.0, highest

    @property
    def largest_difference(self) -> float:
        """The largest possible difference between two values."""
        lowest, highest = self.bounds
        return highest - lowest

    def on_scale_of(self, highest: float) -> "Metric":
        """The metric; without a unit, and so without an upper bound, if a value is beyond it.

        Tasks of lm-eval share names, not scales: `f1` of SCROLLS goes from 0 to 100.
        """
        is_beyond = highest > self.bounds[1] * (1 + ROUNDING)
        return replace(self, unit="") if is_beyond else self

    def is_possible(self, difference: float) -> bool:
        """Whether the scale allows a difference; none is infinite."""
        return math.isfinite(difference) and difference <= self.largest_difference

    def with_unit(self, difference: str) -> str:
        """The text of a difference with its unit, as a sentence has it."""
        unit = {"share": "", "0-100": "points", "%": "percentage points"}.get(self.unit, self.unit)
        return f"{difference} {unit}".strip()


PER_TOKEN = ("nll_nats", "ece")  # means over tokens, which are others in another vocabulary
# in the order of the tables' columns
METRICS = (
    Metric("nll_nats", "NLL", "nats/token", False, 3),
    Metric("kl_to_teacher_nats", "KL to teacher", "nats/token", False, 3, True),
    Metric("reverse_kl_nats", "Reverse KL to teacher", "nats/token", False, 3, True),
    Metric("top1_agreement", "Top-1 agreement", "share", True, 3, True),
    Metric("top5_agreement", "Top-5 agreement", "share", True, 3, True),
    Metric("entropy_gap_nats", "Entropy gap to teacher", "nats/token", None, 3, True, signed=True),
    Metric("ece", "Calibration error", "share", False, 3),
    Metric("span_kl_nats_per_byte", "KL of spans to teacher", "nats/byte", False, 4, True),
    Metric("span_top1_agreement", "Agreement where spans begin", "share", True, 3, True),
    Metric("excess_error_percent", "Excess error on own text", "%", False, 1, True, signed=True),
    Metric("kl_on_own_text_nats", "KL on own text", "nats/token", False, 3, True),
    Metric("kl_on_teacher_text_nats", "KL on teacher's text", "nats/token", False, 3, True),
    Metric("rouge_l", "ROUGE-L", "0-100", True, 2),
    Metric("rouge_l_unicode", "ROUGE-L, Unicode words", "0-100", True, 2),
    Metric("correct", "Correct, avg@k", "share", True, 3),
    Metric("pass_at_k", "pass@k", "share", True, 3),
    Metric("acc", "Accuracy", "share", True, 3),
    Metric("acc_norm", "Accuracy, normalised", "share", True, 3),
    Metric("acc_bytes", "Accuracy, normalised by bytes", "share", True, 3),
    Metric("exact_match", "Exact match", "share", True, 3),
    Metric("em", "Exact match", "share", True, 3),
    Metric("f1", "F1", "share", True, 3),
    Metric("prompt_level_strict_acc", "Prompts followed", "share", True, 3),
    Metric("inst_level_strict_acc", "Instructions followed", "share", True, 3),
    Metric("prompt_level_loose_acc", "Prompts followed, loosely", "share", True, 3),
    Metric("inst_level_loose_acc", "Instructions followed, loosely", "share", True, 3),
    Metric("bits_per_byte", "Bits per byte", "bits/byte", False, 3),
    Metric("nll_per_word_nats", "NLL per word", "nats/word", False, 3),
    Metric("nll_per_target_nats", "NLL of the target", "nats", False, 3),
    Metric("judge_win", "Win rate", "0-100", True, 1),
    Metric("judge_win_length_controlled", "Win rate, length-controlled", "0-100", True, 1),
    Metric("judge_score", "Judge's rating", "1-10", True, 2),
    Metric("judge_reward", "Reward", "reward", True, 3, signed=True),
    Metric("judge_disagreement", "Judge's orders disagree", "share", None, 3),
    Metric("judge_first", "Judge prefers the first", "share", None, 3),
    Metric("judge_unread", "Judge's unread answers", "share", None, 3),
    Metric("answered", "Answered", "share", None, 2),
    Metric("response_tokens", "Length", "tokens", None, 1),
    Metric("ended", "EOS rate", "share", None, 2),
    Metric("distinct_1", "Distinct words", "share", None, 2),
    Metric("distinct_2", "Distinct 2-grams", "share", None, 2),
    Metric("repetition_4", "Repeated 4-grams", "share", None, 2),
)
PASS_AT_K = "pass_at_k"
KNOWN = {metric.name: metric for metric in METRICS}
RANK = {metric.name: rank for rank, metric in enumerate(METRICS)}


@dataclass(frozen=True)
class Measure:
    """A metric on a task: a column of the main table."""

    task: str
    metric: Metric
    slice: str = ""  # a part of the task's items or of their tokens; empty for all

    @property
    def names(self) -> tuple[str, str, str]:
        """What distinguishes it from other measures: its task, slice and metric."""
        return self.task, self.slice, self.metric.name

    @property
    def key(self) -> str:
        """The column's name in machine-readable tables."""
        return "/".join(filter(None, (self.task, self.slice, self.metric.name)))

    @property
    def columns(self) -> dict[str, str]:
        """The columns of a machine-readable table that say what was measured."""
        task, part, metric = self.names
        return {"task": task, "slice": part, "metric": metric, "unit": self.metric.unit}

    @property
    def heading(self) -> str:
        """The column's heading for readers."""
        return f"{self.metric.title} {self.metric.arrow}".strip()

    @property
    def place(self) -> str:
        """The task, and the part of it."""
        return ", ".join(filter(None, (self.task, part_title(self.slice))))

    @property
    def detail(self) -> str:
        """Task and unit, in small print."""
        return ", ".join(filter(None, (self.place, self.metric.unit)))

    def format(self, value: float) -> str:
        """A value with the metric's number of decimals."""
        return f"{value:z.{self.metric.decimals}f}"

    def format_end(self, end: float) -> str:
        """An end of an interval, which is not shown as zero where it lies on one side of it."""
        text = self.format(end)
        return f"{end:.1g}" if float(text) == 0.0 < abs(end) else text


def part_title(name: str) -> str:
    """The name of a part for readers: "reference 61+ words", without an upper end."""
    return re.sub(r"(\d)-(?=\s|$)", r"\1+", name)


def parts_of(measures: Iterable[Measure]) -> list[tuple[str, str]]:
    """The task and the part of it that some measures are of, each task's parts in their order."""
    parts = {(measure.task, measure.slice) for measure in measures}
    return sorted(parts, key=lambda part: _part_order(*part))


def _part_order(task: str, part: str) -> tuple[str, str, list[int], str]:
    """Parts that differ in numbers alone, "tokens 1-8" and "tokens 9-32", are in their order."""
    numbers = [int(digits) for digits in re.findall(r"\d+", part)]
    return task, re.sub(r"\d+", "", part) if numbers else "", numbers, part


def family_of(name: str) -> str:
    """The name under which a metric is listed: pass_at_k for every number of responses."""
    return re.sub(r"^pass_at_\d+$", PASS_AT_K, name)


def unlisted(name: str, higher_is_better: bool | None = None) -> Metric:
    """How to show a metric of which nothing else is known: its values may be any numbers."""
    return Metric(name, name.replace("_", " "), "", higher_is_better, 3, signed=True)


def metric_named(name: str, own: Mapping[str, Metric] | None = None) -> Metric:
    """How to show a metric; one that isn't listed here is shown as descriptive.

    A colon in `name` is followed by the filter with which lm-eval extracted the answer. `own` are
    the metrics of a task of the user's own, by name.
    """
    base, _, answer_filter = name.partition(":")
    known = KNOWN.get(family_of(base)) if own is None else own.get(base)
    metric = known or unlisted(base)
    if metric.name == PASS_AT_K:
        metric = replace(metric, title=base.replace("pass_at_", "pass@"))
    title = f"{metric.title}, {answer_filter}" if answer_filter else metric.title
    return replace(metric, name=name, title=title)


def column_order(task: str, part: str, name: str) -> tuple[int, int, str, str, str]:
    """What the columns of a table are sorted by: that of a metric on a part of a task."""
    family = family_of(name.partition(":")[0])
    k = int(name.removeprefix("pass_at_")) if family == PASS_AT_K else 0
    return RANK.get(family, len(RANK)), k, name, task, part
