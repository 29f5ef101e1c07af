"""Methods on text that the student writes in training, all of it or a share."""

from functools import partial

from pipeline.methods.method import Method

by_student = partial(Method, policy="mixed", teacher="live")
WHOLLY: dict[str, object] = {"student_share": 1.0}
all_by_student = partial(by_student, defaults=WHOLLY)

METHODS = {
    "gkd": by_student(
        title="GKD: JSD on a mix of gold and student text",
        loss="jsd",
        source="Agarwal et al. 2024, arXiv:2306.13649",
        evidence="code",
        departures="Each text, not each batch, is drawn to be the student's with the given share.",
    ),
    "imitkd": all_by_student(
        title="ImitKD: forward KL on student text",
        loss="forward_kl",
        source="Lin et al. 2020, arXiv:2009.07253",
        evidence="abstract",
        departures="All text is the student's and the loss takes the whole distribution, as in "
        "DistiLLM's script; the source begins with gold text.",
    ),
    "on_policy_reverse_kl": all_by_student(
        title="On-policy reverse KL",
        loss="reverse_kl",
        source="Agarwal et al. 2024, arXiv:2306.13649",
        evidence="code",
        departures="GKD's extreme with β at 1: all text is the student's.",
    ),
    "opd": all_by_student(
        title="On-policy distillation by policy gradient",
        loss="opd",
        source="Lu & Thinking Machines Lab 2025, thinkingmachines.ai/blog/on-policy-distillation",
        evidence="code",
        departures="One response to a prompt; the source's four are `policy: student_groups`.",
    ),
    "iw_opd": all_by_student(
        title="IW-OPD: on-policy distillation, early tokens weighted",
        loss="iw_opd",
        source="IW-OPD 2026, arXiv:2606.22600",
        evidence="abstract",
        departures="Formula and γ as TRL implements them.",
    ),
    "g_opd": by_student(
        title="G-OPD: on-policy distillation with half of the reward",
        loss="g_opd",
        source="G-OPD 2026, arXiv:2602.12125",
        evidence="code",
        defaults=WHOLLY | {"reward_weight": 0.5},
        departures="λ = 0.5 is ours, and so is that importance weights have no limit, which are 1 "
        "here.",
    ),
    "exopd": all_by_student(
        title="ExOPD: on-policy distillation beyond the teacher",
        loss="g_opd",
        source="G-OPD 2026, arXiv:2602.12125",
        evidence="code",
        departures="Importance weights have no limit, which are 1 here.",
    ),
    "kdrl": Method(
        title="KDRL-like, details ours: checked answers rewarded beside reverse KL",
        loss="kdrl",
        policy="student_groups",
        teacher="live",
        source="Xu et al. 2025, arXiv:2506.02208",
        evidence="abstract",
        departures="Objective, weight of the KL and group size are ours. A reward is 1 where the "
        "answer equals that of the gold response, as tasks check it, else 0; on data without "
        "answers it is refused.",
    ),
    "kl_k2": all_by_student(
        title="Reverse KL by the estimator k2",
        loss="kl_estimator",
        source="Schulman 2020, joschu.net/blog/kl-approx; as a loss in verl",
        evidence="own",
        departures="One sample for each token, as a loss; it has the gradient of reverse KL.",
    ),
    "kl_k3": by_student(
        title="Forward KL in expectation: the estimator k3 of the reverse KL as a loss",
        loss="kl_estimator",
        source="Schulman 2020, joschu.net/blog/kl-approx; as a loss in verl",
        evidence="own",
        defaults=WHOLLY | {"estimator": "k3"},
        departures="One sample for each token, as a loss; it has the gradient of forward KL.",
    ),
    "entropy_aware_opd": all_by_student(
        title="Entropy-aware OPD: forward KL beside reverse KL where the teacher is unsure",
        loss="entropy_aware",
        source="Jin et al. 2026, arXiv:2603.07079",
        evidence="abstract",
        departures="The threshold of the entropy and the weight of forward KL are ours.",
    ),
    "top_k_reverse_kl": all_by_student(
        title="Reverse KL on the student's top K and a bucket",
        loss="top_k_kl",
        source="TRL, the trainer for on-policy distillation",
        evidence="own",
        departures="K and a share of student text of 1 are ours.",
    ),
    "top_k_forward_kl": by_student(
        title="Forward KL on the teacher's top K and a bucket",
        loss="top_k_kl",
        source="TRL, the trainer for on-policy distillation",
        evidence="own",
        defaults=WHOLLY | {"forward_weight": 1.0, "by_student": False},
        departures="K and a share of student text of 1 are ours.",
    ),
    "opd_spans": all_by_student(
        title="On-policy distillation by policy gradient over spans",
        loss="opd_spans",
        source="Lu & Thinking Machines Lab 2025, between vocabularies as github.com/rllm-org/rllm",
        evidence="code",
        departures="One response to a prompt; no clipping; a span's likelihood is shared out over "
        "its tokens, where theirs is by overlapping bytes.",
    ),
}
