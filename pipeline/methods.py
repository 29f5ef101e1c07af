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
    draws: int | None = None  # tokens drawn from the teacher at each place; null: its top K
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
    "imitkd": Method(
        title="ImitKD: forward KL on student text",
        loss="forward_kl",
        policy="mixed",
        teacher="live",
        source="Lin et al. 2020, arXiv:2009.07253",
        evidence="abstract",
        defaults={"student_share": 1.0},
        departures="All text is the student's and the loss takes the whole distribution, as in "
        "DistiLLM's script; the source begins with gold text.",
    ),
    "on_policy_reverse_kl": Method(
        title="On-policy reverse KL",
        loss="reverse_kl",
        policy="mixed",
        teacher="live",
        source="Agarwal et al. 2024, arXiv:2306.13649",
        evidence="code",
        defaults={"student_share": 1.0},
        departures="GKD's extreme with β at 1: all text is the student's.",
    ),
    "opd": Method(
        title="On-policy distillation by policy gradient",
        loss="opd",
        policy="mixed",
        teacher="live",
        source="Lu & Thinking Machines Lab 2025, thinkingmachines.ai/blog/on-policy-distillation",
        evidence="code",
        defaults={"student_share": 1.0},
        departures="One response to a prompt, not a group of four.",
    ),
    "distillm": Method(
        title="DistiLLM: skew reverse KL, adaptive student text",
        loss="skew_reverse_kl",
        policy="adaptive",
        teacher="live",
        plain_text_weight=1.0,
        source="Ko et al. 2024, arXiv:2402.03898",
        evidence="code",
        departures="Held-out NLL is first measured in the course of training, not before it.",
    ),
    "distillm_skl": Method(
        title="DistiLLM: skew KL, adaptive student text",
        loss="skew_kl",
        policy="adaptive",
        teacher="live",
        plain_text_weight=1.0,
        source="Ko et al. 2024, arXiv:2402.03898",
        evidence="code",
        departures="Held-out NLL is first measured in the course of training, not before it.",
    ),
    "skd": Method(
        title="SKD: the student proposes, the teacher replaces",
        loss="forward_kl",
        policy="speculative",
        teacher="live",
        source="Xu et al. 2025, arXiv:2410.11325",
        evidence="code",
        departures="The kept token is the tested one; a batch is written token by token.",
    ),
    "switch": Method(
        title="SWITCH: the teacher takes over where the two disagree",
        loss="skew_reverse_kl",
        policy="switch",
        teacher="live",
        plain_text_weight=1.0,
        source="Koo et al. 2025, arXiv:2410.19503",
        evidence="full",
        departures="Each text, not each batch, is drawn to stay gold with the given share.",
    ),
    "minillm": Method(
        title="MiniLLM: policy gradient on teacher-mixed text",
        loss="minillm",
        policy="teacher_mixed",
        teacher="live",
        plain_text_weight=1.0,
        source="Gu et al. 2024, arXiv:2306.08543",
        evidence="code",
        departures="One update for each set of texts, where the source makes four passes over 256; "
        "the term on plain text is cross entropy alone, where the source mixes in half of a KL.",
    ),
    "distillm2": Method(
        title="DistiLLM-2: the teacher's and the student's response to each prompt",
        loss="contrastive_pair",
        policy="epoch_pairs",
        teacher="live",
        text="teacher",
        source="Ko et al. 2025, arXiv:2503.07067",
        evidence="code",
        departures="The teacher's text is written with the experiment's own sampling.",
    ),
    "rs_kd": Method(
        title="RS-KD: forward KL on sampled teacher targets",
        loss="forward_kl",
        draws=50,
        source="Anshumann et al. 2025, arXiv:2503.16870",
        evidence="abstract",
        departures="Draws are made once, with the cache, and are the same in every epoch.",
    ),
    "okd": Method(
        title="OKD-style, details ours: the teacher's online module learns too",
        loss="reverse_kl",
        teacher="live",
        update="online_module",
        source="Rao et al. 2024, arXiv:2409.12512",
        evidence="abstract",
        departures="The module's kind, place and rank, its loss and its rate are ours, and so is "
        "the student's reverse KL.",
    ),
    "ikd": Method(
        title="IKD-style: the teacher learns from its student's exam",
        loss="forward_kl",
        teacher="live",
        update="exam",
        source="Liu et al. 2021, arXiv:2109.04641",
        evidence="abstract",
        departures="A LoRA teacher for text, where the source has BERT classifiers. Its gradient "
        "through the student's step is of one plain gradient step, by a finite difference.",
    ),
    "mckd": Method(
        title="MCKD: paired students label each other's half",
        loss="cross_entropy",
        teacher="text",
        text="teacher",
        relabelling_stages=2,
        source="Zhao et al. 2023, arXiv:2311.08640",
        evidence="abstract",
        departures="Three stages, the last of which trains one student on all labels. Labels are "
        "sampled as the teacher's text is; open-ended text, where the source parses.",
    ),
}
