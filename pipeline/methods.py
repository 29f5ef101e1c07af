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
    "symmetric_kl": Method(
        title="Forward and reverse KL, half each",
        loss="symmetric_kl",
        teacher="live",
        source="Wu et al. 2024, arXiv:2404.02657",
        evidence="code",
    ),
    "tvd": Method(
        title="Total variation distance",
        loss="tvd",
        source="Wen et al. 2023, arXiv:2307.15190",
        evidence="full",
        departures="On one kind of text; the source takes half of it on the teacher's and half on "
        "the student's own.",
    ),
    "skew_kl": Method(
        title="Skew KL",
        loss="skew_kl",
        source="Ko et al. 2024, arXiv:2402.03898",
        evidence="code",
        departures="The loss of DistiLLM alone, on fixed text and without its plain-text term.",
    ),
    "skew_reverse_kl": Method(
        title="Skew reverse KL",
        loss="skew_reverse_kl",
        teacher="live",
        source="Ko et al. 2024, arXiv:2402.03898",
        evidence="code",
        departures="The loss of DistiLLM alone, on fixed text and without its plain-text term.",
    ),
    "akl": Method(
        title="AKL: adaptive forward and reverse KL",
        loss="akl",
        teacher="live",
        source="Wu et al. 2024, arXiv:2404.02657",
        evidence="code",
    ),
    "todi": Method(
        title="ToDi: forward or reverse KL at each outcome",
        loss="todi",
        teacher="live",
        source="Jung et al. 2025, arXiv:2505.16297",
        evidence="code",
        departures="Temperature 1 and no cross entropy; their script has 2 and mixes in half.",
    ),
    "taid": Method(
        title="TAID: a target that moves to the teacher",
        loss="taid",
        teacher="live",
        source="Shing et al. 2025, arXiv:2501.16937",
        evidence="code",
        departures="The target's entropy counts in the relative change that drives the target.",
    ),
    "abkd": Method(
        title="ABKD: alpha-beta divergence",
        loss="abkd",
        teacher="live",
        source="Wang et al. 2025, arXiv:2505.04560",
        evidence="abstract",
        departures="Formula and exponents as AdaKD's and AMiD's repositories give them.",
    ),
    "amid": Method(
        title="AMiD: towards a mean of teacher and student",
        loss="amid",
        teacher="live",
        source="Shin et al. 2025, arXiv:2510.15982",
        evidence="code",
        departures="On fixed text; their script writes student text as DistiLLM does.",
    ),
    "adakd": Method(
        title="AdaKD: hard tokens, each at its temperature",
        loss="adakd",
        teacher="live",
        source="Xie et al. 2025, arXiv:2510.11615",
        evidence="code",
        departures="Ranks and median are over the optimizer step; the temperature has no gradient.",
    ),
    "dkd": Method(
        title="Decoupled KD",
        loss="dkd",
        source="Zhao et al. 2022, arXiv:2203.08679",
        evidence="code",
        departures="The class is the next token; temperature 1, no cross entropy, no warm-up.",
    ),
    "atkd": Method(
        title="ATKD on forward KL",
        loss="atkd",
        source="Zhong et al. 2024, arXiv:2402.11890",
        evidence="code",
        departures="The median is over the optimizer step; EOS is learnt like any other token.",
    ),
    "atkd_reverse": Method(
        title="ATKD on reverse KL",
        loss="atkd",
        teacher="live",
        source="Zhong et al. 2024, arXiv:2402.11890",
        evidence="code",
        defaults={"reverse": True},
        departures="The median is over the optimizer step; EOS is learnt like any other token.",
    ),
    "atkd_jsd": Method(
        title="ATKD on Jensen-Shannon divergence, plug-in ours",
        loss="atkd",
        source="Zhong et al. 2024, arXiv:2402.11890",
        evidence="abstract",
        defaults={"base": "jsd"},
        departures="How ATKD goes with a divergence other than KL is our definition.",
    ),
    "ckd": Method(
        title="CKD-inspired: differences between positions, beside forward KL",
        loss="relational",
        teacher="live",
        source="Wilf et al. 2023, arXiv:2311.02253",
        evidence="abstract",
        departures="Samples are positions of a text and views their logits, where the source has "
        "images; its forward KL and weight are ours.",
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
        departures="Held-out NLL is first measured in the course of training, not before it; with "
        "few measurements student text may never be written.",
    ),
    "distillm_skl": Method(
        title="DistiLLM: skew KL, adaptive student text",
        loss="skew_kl",
        policy="adaptive",
        teacher="live",
        plain_text_weight=1.0,
        source="Ko et al. 2024, arXiv:2402.03898",
        evidence="code",
        departures="Held-out NLL is first measured in the course of training, not before it; with "
        "few measurements student text may never be written.",
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
    "distillm2_adaptive": Method(
        title="DistiLLM-2 with a skew for each text and a growing student term",
        loss="contrastive_pair_adaptive",
        policy="epoch_pairs",
        teacher="live",
        text="teacher",
        source="Ko et al. 2025, arXiv:2503.07067",
        evidence="code",
        departures="The teacher's text is written with the experiment's own sampling; gaps are "
        "taken without sign and set against the step's mean, where theirs is the first batch's.",
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
