"""Methods with a policy of their own for what text a step has, and who writes it."""

from functools import partial

from pipeline.methods.method import Method

live = partial(Method, teacher="live")

METHODS = {
    "distillm": live(
        title="DistiLLM: skew reverse KL, adaptive student text",
        loss="skew_reverse_kl",
        policy="adaptive",
        plain_text_weight=1.0,
        source="Ko et al. 2024, arXiv:2402.03898",
        evidence="code",
        departures="Held-out NLL is first measured in the course of training, not before it; with "
        "few measurements student text may never be written.",
    ),
    "distillm_skl": live(
        title="DistiLLM: skew KL, adaptive student text",
        loss="skew_kl",
        policy="adaptive",
        plain_text_weight=1.0,
        source="Ko et al. 2024, arXiv:2402.03898",
        evidence="code",
        departures="Held-out NLL is first measured in the course of training, not before it; with "
        "few measurements student text may never be written.",
    ),
    "miniplm": Method(
        title="MiniPLM-like: the texts that the teacher finds likelier by most",
        loss="cross_entropy",
        policy="difference_sampling",
        source="Gu et al. 2024, arXiv:2410.17215",
        evidence="code",
        departures="Texts of a train set, where theirs are documents of pre-training from scratch; "
        "by NLL of a token, where theirs have one length; the reference is the student before its "
        "training, where theirs is a model apart. As many steps as with all texts.",
    ),
    "skd": live(
        title="SKD: the student proposes, the teacher replaces",
        loss="forward_kl",
        policy="speculative",
        source="Xu et al. 2025, arXiv:2410.11325",
        evidence="code",
        departures="The kept token is the tested one; a batch is written token by token.",
    ),
    "switch": live(
        title="SWITCH: the teacher takes over where the two disagree",
        loss="skew_reverse_kl",
        policy="switch",
        plain_text_weight=1.0,
        source="Koo et al. 2025, arXiv:2410.19503",
        evidence="full",
        departures="Each text, not each batch, is drawn to stay gold with the given share.",
    ),
    "ada_switch": live(
        title="AdaSwitch: the teacher writes on from where the student strays",
        loss="forward_kl",
        policy="ada_switch",
        source="Peng et al. 2025, arXiv:2510.07842",
        evidence="abstract",
        departures="The factor, the window and the sampling are ours, and so is forward KL; each "
        "text switches on its own.",
    ),
    "minillm": live(
        title="MiniLLM: policy gradient on teacher-mixed text",
        loss="minillm",
        policy="teacher_mixed",
        plain_text_weight=1.0,
        source="Gu et al. 2024, arXiv:2306.08543",
        evidence="code",
        departures="By default each step has texts of its own, where the source makes four passes "
        "over 256 (`passes: 4`, `rollout_texts: 256`), and cross entropy alone on plain text, half "
        "of it forward KL in the source (`plain_text_kl: 0.5`). Rewards are the trained student's.",
    ),
    "distillm2": live(
        title="DistiLLM-2: the teacher's and the student's response to each prompt",
        loss="contrastive_pair",
        policy="epoch_pairs",
        text="teacher",
        source="Ko et al. 2025, arXiv:2503.07067",
        evidence="code",
        departures="The teacher's text is written with the experiment's own sampling.",
    ),
    "distillm2_adaptive": live(
        title="DistiLLM-2 with a skew for each text and a growing student term",
        loss="contrastive_pair_adaptive",
        policy="epoch_pairs",
        text="teacher",
        source="Ko et al. 2025, arXiv:2503.07067",
        evidence="code",
        departures="The teacher's text is written with the experiment's own sampling; gaps are "
        "taken without sign and set against the step's mean, where theirs is the first batch's.",
    ),
}
