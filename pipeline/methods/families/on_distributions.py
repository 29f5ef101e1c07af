"""Methods that compare the distributions of both models at the tokens of fixed texts."""

from functools import partial

from pipeline.methods.method import Method

live = partial(Method, teacher="live")

METHODS = {
    "forward_kl": Method(
        title="Forward KL",
        loss="forward_kl",
        source="Hinton et al. 2015, arXiv:1503.02531",
        evidence="code",
        departures="Temperature 1 and no cross entropy on gold; MiniLLM's baseline mixes in half.",
    ),
    "reverse_kl": live(
        title="Reverse KL",
        loss="reverse_kl",
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
    "symmetric_kl": live(
        title="Forward and reverse KL, half each",
        loss="symmetric_kl",
        source="Wu et al. 2024, arXiv:2404.02657",
        evidence="code",
    ),
    "tvd": Method(
        title="Total variation distance",
        loss="tvd",
        source="Wen et al. 2023, arXiv:2307.15190",
        evidence="full",
        departures="On one kind of text; `f_distill` has the source's two.",
    ),
    "f_distill": live(
        title="f-distill: total variation distance, half each on teacher's and student's text",
        loss="tvd",
        policy="mixed",
        text="teacher",
        source="Wen et al. 2023, arXiv:2307.15190",
        evidence="full",
        departures="Each text is the student's with probability a half, where the source takes "
        "both for each prompt. Text is sampled at temperature 1 by a student that need not have "
        "been distilled, where the source's was, and draws from its top 30 tokens with 5 beams.",
    ),
    "skew_kl": Method(
        title="Skew KL",
        loss="skew_kl",
        source="Ko et al. 2024, arXiv:2402.03898",
        evidence="code",
        departures="The loss of DistiLLM alone, on fixed text and without its plain-text term.",
    ),
    "skew_reverse_kl": live(
        title="Skew reverse KL",
        loss="skew_reverse_kl",
        source="Ko et al. 2024, arXiv:2402.03898",
        evidence="code",
        departures="The loss of DistiLLM alone, on fixed text and without its plain-text term.",
    ),
    "akl": live(
        title="AKL: adaptive forward and reverse KL",
        loss="akl",
        source="Wu et al. 2024, arXiv:2404.02657",
        evidence="code",
    ),
    "todi": live(
        title="ToDi: forward or reverse KL at each outcome",
        loss="todi",
        source="Jung et al. 2025, arXiv:2505.16297",
        evidence="code",
        departures="Temperature 1 and no cross entropy; their script has 2 and mixes in half.",
    ),
    "taid": live(
        title="TAID: a target that moves to the teacher",
        loss="taid",
        source="Shing et al. 2025, arXiv:2501.16937",
        evidence="code",
        departures="The target's entropy counts in the relative change that drives the target.",
    ),
    "abkd": live(
        title="ABKD: alpha-beta divergence",
        loss="abkd",
        source="Wang et al. 2025, arXiv:2505.04560",
        evidence="abstract",
        departures="Formula and exponents as AdaKD's and AMiD's repositories give them.",
    ),
    "amid": live(
        title="AMiD: towards a mean of teacher and student",
        loss="amid",
        source="Shin et al. 2025, arXiv:2510.15982",
        evidence="code",
        departures="On fixed text; their script writes student text as DistiLLM does.",
    ),
    "adakd": live(
        title="AdaKD: hard tokens, each at its temperature",
        loss="adakd",
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
    "atkd_reverse": live(
        title="ATKD on reverse KL",
        loss="atkd",
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
    "ckd": live(
        title="CKD-inspired: differences between positions, beside forward KL",
        loss="relational",
        source="Wilf et al. 2023, arXiv:2311.02253",
        evidence="abstract",
        departures="Samples are positions of a text and views their logits, where the source has "
        "images; its forward KL and weight are ours.",
    ),
}
