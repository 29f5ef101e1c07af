"""Every method of the benchmark: the only list that a new method joins, here or in its family."""

from pipeline.methods.families import (
    across_vocabularies,
    on_chosen_text,
    on_distributions,
    on_hidden_states,
    on_own_text,
    other_teachers,
)
from pipeline.methods.method import Method

# how teachers and the students' common starts are trained
FINE_TUNING = Method(
    title="Supervised fine-tuning",
    loss="cross_entropy",
    teacher="none",
    source="the baseline of every paper",
    evidence="code",
)

METHODS = {
    "sft": FINE_TUNING,
    "seqkd": Method(
        title="Sequence-level distillation",
        loss="cross_entropy",
        teacher="text",
        text="teacher",
        source="Kim & Rush 2016, arXiv:1606.07947",
        evidence="code",
        departures="Text is sampled at temperature 1, as later papers do; the source uses beams.",
    ),
    **across_vocabularies.METHODS,
    **on_distributions.METHODS,
    **on_hidden_states.METHODS,
    **on_own_text.METHODS,
    **on_chosen_text.METHODS,
    **other_teachers.METHODS,
}
