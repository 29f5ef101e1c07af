"""Methods with teachers that are sampled, learn along, or are students themselves."""

from pipeline.methods.method import Method

METHODS = {
    "rs_kd": Method(
        title="RS-KD: forward KL on sampled teacher targets",
        loss="forward_kl",
        draws=50,
        source="Anshumann et al. 2025, arXiv:2503.16870",
        evidence="abstract",
        departures="Draws are made once, with the cache, and are the same in every epoch.",
    ),
    "rs_kd_redrawn": Method(
        title="RS-KD with new draws in each step",
        loss="forward_kl",
        draws=50,
        redrawn=True,
        source="Anshumann et al. 2025, arXiv:2503.16870",
        evidence="abstract",
        departures="The source draws once, for a cache. These come from the experiment's cache: "
        "exact for the tier hidden; of a top K, its tokens and the bucket are drawn.",
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
        title="IKD-style: the teacher learns from its student's feedback",
        loss="forward_kl",
        teacher="live",
        update="student_feedback",
        source="Liu et al. 2021, arXiv:2109.04641",
        evidence="abstract",
        departures="A LoRA teacher for text, where the source has BERT classifiers. Its gradient "
        "through the student's step is of one plain gradient step, by a finite difference.",
    ),
    "opsd": Method(
        title="OPSD: the student, shown the reference, teaches itself on its own text",
        loss="jsd",
        policy="mixed",
        teacher="self",
        update="privileged_prompt",
        source="Zhao et al. 2026, arXiv:2601.18734",
        evidence="code",
        defaults={
            "student_share": 1.0,
            "template": "{example_prompt}{example_response}\n\nNow answer in your own words.\n\n"
            "{prompt}",
        },
        departures="The prompt's words and order are ours, with the student's own prompt last. "
        "Text is sampled at temperature 1 of all tokens; theirs at 1.1, top_p 0.95 and top_k 20.",
    ),
    "sdft": Method(
        title="SDFT: a moving average of the student, shown a demonstration, teaches it",
        loss="jsd_student_top",
        policy="mixed",
        teacher="self",
        update="privileged_prompt",
        source="Shenfeld et al. 2026, arXiv:2601.19897",
        evidence="code",
        defaults={
            "student_share": 1.0,
            "student_rate": 0.05,
            "template": "{example_prompt}{example_response}\n\nThat was an example; now answer "
            "yourself.\n\n{prompt}",
        },
        departures="The prompt's words and order are ours, with the student's own prompt last. No "
        "importance weight: each step trains on texts that the student of that step wrote.",
    ),
    "sdpo": Method(
        title="SDPO: a moving average of the student, shown a right response of its, teaches it",
        loss="sdpo",
        policy="student_groups",
        teacher="self",
        update="privileged_prompt",
        source="Hübotter et al. 2026, arXiv:2601.20802",
        evidence="code",
        defaults={
            "samples": 8,
            "shows": "solution",
            "student_rate": 0.05,
            "template": "{example_prompt}{example_response}\n\nThat answer is right; now answer "
            "yourself.\n\n{prompt}",
        },
        departures="TRL's form and defaults, read there. The prompt's words and order are ours, "
        "with the student's own prompt last; answers are checked as for `kdrl`; a mean over all "
        "tokens of a step, without clipping. No feedback but a right response.",
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
