"""Which texts of the train set a training takes, where its policy compares their likelihoods.

Teacher and student read every text once, before the first step. What is kept is part of the saved
state, so that a training that resumes, whose student has learnt, keeps the same.
"""

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.data.batch import Batch, Text
from pipeline.data.sharing import counted, shared_batches
from pipeline.data_policies import SelectingPolicy, TextNats
from pipeline.distributions.log_probs import PerToken, target_log_prob
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.runtime.costs import ModelCounter
from pipeline.training.schedule import draw_batch
from pipeline.training.state import TrainingRun, TrainingState

READ_TOGETHER = 1024  # texts that are sorted by length before they are read


def drawn_texts(run: TrainingRun, state: TrainingState, step: int) -> list[Text]:
    """The texts that are drawn for a step, of all or of those that the policy keeps."""
    size, seed = run.settings.training.batch_size, run.settings.seed
    if not isinstance(run.policy, SelectingPolicy):
        return draw_batch(run.train_set, step, size, seed)
    select_texts(run, state)
    places = draw_batch(state.policy["kept"], step, size, seed)
    return [run.train_set[place] for place in places]


def select_texts(run: TrainingRun, state: TrainingState) -> None:
    """Notes in the state which texts a selecting policy keeps, once."""
    if isinstance(run.policy, SelectingPolicy) and "kept" not in state.policy:
        state.policy |= selection(run, run.policy, state.work)


def selection(
    run: TrainingRun, policy: SelectingPolicy, work: Sequence[ModelCounter] = ()
) -> dict[str, list[int]]:
    """Places of the texts that a policy keeps; the student is still the one before training."""
    assert run.teacher is not None
    student = LiveTeacher(run.student, run.settings.training.precision)
    readers = {"student": student, "teacher": run.teacher}
    nats = {name: mean_nats(run, reader, work) for name, reader in readers.items()}
    for name, of_texts in nats.items():
        _check_numbers(run, name, of_texts)
    kept = policy.kept(*nats.values())
    difference = nats["student"] - nats["teacher"]
    run.ranks.log(
        f"kept {len(kept):,} of {len(difference):,} texts by NLL under student minus teacher: "
        f"{difference[kept].mean():.4f} nats a token on average, of all {difference.mean():.4f}"
    )
    return {"kept": kept}


def _check_numbers(run: TrainingRun, name: str, nats: TextNats) -> None:
    """Raises ValueError for likelihoods that are no numbers: texts would be kept by their place."""
    if (is_nan := np.isnan(nats)).any():
        example = run.train_set[int(is_nan.argmax())].example_id
        raise ValueError(
            f"the {name}'s log-probabilities are not numbers (NaN) on {is_nan.sum()} of "
            f"{len(nats)} texts, first on {example}: it is broken before the first step; train it "
            "again or take another one"
        )


def selection_card(run: TrainingRun, state: TrainingState) -> dict[str, object]:
    """What the manifest of a student says of the selection: nothing where there was none."""
    if "kept" not in state.policy or not isinstance(run.policy, SelectingPolicy):
        return {}
    count = len(state.policy["kept"])
    return {"selection": {"kept_texts": count, "left_out_texts": len(run.train_set) - count}}


def mean_nats(run: TrainingRun, reader: Teacher, work: Sequence[ModelCounter] = ()) -> TextNats:
    """The NLL in nats of each training text under a model, a mean over its tokens.

    Ranks share the texts, and `work` is what their models do.
    """
    firsts = range(0, len(run.train_set), READ_TOGETHER)
    parts = (run.train_set[first : first + READ_TOGETHER] for first in firsts)
    return np.concatenate([_in_order(run, reader, texts, work) for texts in parts])


def _in_order(
    run: TrainingRun, reader: Teacher, texts: Sequence[Text], work: Sequence[ModelCounter]
) -> TextNats:
    by_length = torch.zeros(len(texts), dtype=torch.float64)
    shared = shared_batches(texts, run.max_tokens, run.student.device, run.ranks)
    for each in counted(shared, work):
        nats = -target_log_probs(run, reader, each.batch).double()
        sums = nats.new_zeros(len(each.places)).index_add(0, each.batch.sequence, nats)
        by_length[list(each.places)] += each.weight * (sums / each.batch.lengths).cpu()
    run.ranks.sum_in_place([by_length])
    order = sorted(range(len(texts)), key=lambda place: texts[place].length)
    values = np.empty(len(texts))
    values[order] = by_length.numpy()
    return values


@torch.no_grad()
def target_log_probs(run: TrainingRun, reader: Teacher, batch: Batch) -> PerToken:
    """The log-probability that a model gives to each target of a batch."""
    distributions = reader.distributions(batch)
    parts = [
        target_log_prob(signal.log_probs, signal.support.target)
        for signal in map(distributions.chunk, run.chunks(batch))
    ]
    return torch.cat(parts)
