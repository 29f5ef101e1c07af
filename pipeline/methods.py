"""Every method of the benchmark, an entry each. This is the one list that a new method joins."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Method:
    """A loss on texts that a policy provides, and what it needs of the teacher."""

    title: str
    loss: str  # file in pipeline/losses
    source: str  # authors, year, arXiv id
    evidence: Literal["code", "full", "abstract"]  # what of it was read
    policy: str = "fixed"  # file in pipeline/data_policies
    teacher: Literal["none", "text", "cache", "live"] = "cache"
    text: Literal["gold", "teacher"] = "gold"  # whose responses the fixed texts have
    update: str | None = None  # file in pipeline/teacher_updates, where the teacher learns too
    gold_weight: float = 0.0  # share of cross entropy in the loss, on text the student didn't write
    plain_text_weight: float = 0.0  # of a language-modelling term on plain text, added
    relabelling_stages: int = 0  # rounds of paired students that label each other's half
    defaults: dict[str, object] = field(default_factory=dict)  # where they differ from the fields
    departures: str = ""  # from the source, in a sentence each


METHODS = {
    "sft": Method(
        title="Supervised fine-tuning",
        loss="cross_entropy",
        teacher="none",
        source="the baseline of every paper",
        evidence="code",
    ),
    "seqkd": Method(
        title="Sequence-level distillation",
        loss="cross_entropy",
        teacher="text",
        text="teacher",
        source="Kim & Rush 2016, arXiv:1606.07947",
        evidence="code",
        departures="Text is sampled at temperature 1, as later papers do; the source uses beams.",
    ),
    "forward_kl": Method(
        title="Forward KL",
        loss="forward_kl",
        source="Hinton et al. 2015, arXiv:1503.02531",
        evidence="code",
        departures="Temperature 1 and no cross entropy on gold; MiniLLM's baseline mixes in half.",
    ),
    "reverse_kl": Method(
        title="Reverse KL",
        loss="reverse_kl",
        teacher="live",
        source="Gu et al. 2024, arXiv:2306.08543",
        evidence="code",
        departures="At each token of fixed text; MiniLLM's own objective is `minillm`.",
    ),
    "jsd": Method(
        title="Generalised Jensen-Shannon divergence",
        loss="jsd",
        source="Agarwal et al. 2024, arXiv:2306.13649",
        evidence="code",
    ),
    "gkd": Method(
        title="GKD: JSD on a mix of gold and student text",
        loss="jsd",
        policy="mixed",
        teacher="live",
        source="Agarwal et al. 2024, arXiv:2306.13649",
        evidence="code",
        departures="Each text, not each batch, is drawn to be the student's with the given share.",
    ),
}
