"""Methods over spans of text, whose teachers may have another vocabulary than their students."""

from pipeline.methods.method import Method

METHODS = {
    "uld": Method(
        title="ULD: sorted probabilities, positions paired by index",
        loss="uld",
        gold_weight=0.4,
        source="Boizard et al. 2024, arXiv:2402.12030",
        evidence="code",
        departures="A mean over all tokens of a step; theirs is over paired positions of a text.",
    ),
    "uld_aligned": Method(
        title="ULD on aligned spans, the alignment ours",
        loss="uld",
        gold_weight=0.4,
        source="Boizard et al. 2024, arXiv:2402.12030",
        evidence="code",
        defaults={"aligned": True},
        departures="Rows in which spans begin are paired, where theirs are those of an index.",
    ),
    "alm": Method(
        title="ALM: likelihoods of spans",
        loss="alm",
        source="Minixhofer et al. 2025, arXiv:2503.20083",
        evidence="code",
        departures="No cross entropy beside it, and τ times the divergence; on a top K the "
        "teacher's mass on beginnings of words is that of the K tokens.",
    ),
    "gold": Method(
        title="GOLD: merged spans, matched tokens by JSD, others sorted",
        loss="gold",
        source="Patiño et al. 2025, huggingface.co/spaces/HuggingFaceH4/on-policy-distillation",
        evidence="code",
        departures="TRL's merge `bayesian`, not its default, which reads each row a token early. "
        "On gold text; EOS is learnt; a sum over spans by the count of tokens.",
    ),
    "simct": Method(
        title="SimCT: common tokens and the span as an outcome, by log-probabilities",
        loss="simct",
        source="Sun et al. 2026, arXiv:2605.07711",
        evidence="code",
        departures="A span has the probability of its text, where theirs has the mean of raw "
        "logits, which are known up to a constant for each row; what is left is an outcome, too. "
        "On gold text, theirs is the student's.",
    ),
}
