"""Continuous batching: a finished sequence's slot goes to the next prompt.

The longest prompts come first, so that prompts of similar length are prefilled together and short
ones are left for the end.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Author, Text
from pipeline.generation import fallback
from pipeline.generation.capacity import BATCH_TOKENS, engine_for, length_groups
from pipeline.generation.engine import (
    EngineSize,
    GenerationEngine,
    length_buckets,
    supports_ragged_batches,
)
from pipeline.generation.sampling import AnySampler, SpeculativeSampler
from pipeline.generation.slots import Prompt, Response, uniforms
from pipeline.models.flops import record_generation
from pipeline.models.language_model import end_ids
from pipeline.models.positions import check_table
from pipeline.models.sharding import writer
from pipeline.runtime.progress import ProgressLog
from pipeline.runtime.ranks import ALONE, Ranks

REFILL = 1 / 8  # share of the slots that is free before new prompts are prefilled
SHRINK_BELOW = 0.5  # with no prompt waiting, free slots are dropped when at most this is active

Waiting = deque[tuple[int, Text]]  # prompts that have no slot yet, with their indices


@dataclass(frozen=True)
class GenerationJob:
    """How texts are generated: by which models, sampler and seed, with whose progress log."""

    models: Sequence[PreTrainedModel]
    token_sampler: AnySampler
    max_new_tokens: int
    seed: int
    progress: ProgressLog | None

    def prompt(self, text: Text) -> Prompt:
        """The prompt of a text, with its own uniform numbers."""
        return Prompt(text.prompt_ids, uniforms(self.seed, text.example_id, self.max_new_tokens))

    def report(self, responses: Sequence[Response]) -> None:
        """Adds finished responses to the progress log."""
        if self.progress:
            tokens = sum(len(response.tokens) for response in responses)
            self.progress.step(len(responses), tokens)


@torch.no_grad()
def generate(
    texts: Sequence[Text],
    models: Sequence[PreTrainedModel],
    token_sampler: AnySampler,
    max_new_tokens: int,
    seed: int,
    author: Author,
    progress: ProgressLog | None = None,
    ranks: Ranks = ALONE,
) -> list[Text]:
    """The prompts of `texts` with new responses, in the same order; of all ranks, on each of them.

    Raises: ValueError for a prompt of no token, which leaves a model nothing to predict from.
    """
    _refuse_empty_prompts(texts)
    for model in models:
        check_table(model.config, texts, max_new_tokens)
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index].prompt_ids))
    unique = with_unique_ids(texts)
    writers = [writer(model) for model in models]
    job = GenerationJob(writers, token_sampler, max_new_tokens, seed, progress)
    own = ranks.share(order)
    written = dict(zip(own, _responses([unique[index] for index in own], job), strict=True))
    responses = {index: it for of_rank in ranks.gather(written) for index, it in of_rank.items()}

    ends = end_ids(models[0])
    generated = [
        _with_response(text, responses[index], author, ends) for index, text in enumerate(texts)
    ]
    written_here = sorted(own)
    discarded = [responses[index].discarded_drafts for index in written_here]
    record_generation(models, [generated[index] for index in written_here], discarded)
    return generated


def _refuse_empty_prompts(texts: Sequence[Text]) -> None:
    for text in texts:
        if not len(text.prompt_ids):
            raise ValueError(
                f"example {text.example_id!r} has an empty prompt: begin it with BOS or EOS"
            )


def with_unique_ids(texts: Sequence[Text]) -> list[Text]:
    """The texts, with a new id for one that comes again, so that its randomness differs.

    A training step that is larger than its data repeats texts.
    """
    seen: Counter[str] = Counter()
    unique = []
    for text in texts:
        repeat = seen[text.example_id]
        unique.append(replace(text, example_id=f"{text.example_id}/{repeat}") if repeat else text)
        seen[text.example_id] += 1
    return unique


def _responses(texts: Sequence[Text], job: GenerationJob) -> list[Response]:
    """A response to each prompt; the longest comes first."""
    lengths = [len(text.prompt_ids) + job.max_new_tokens for text in texts]
    if all(supports_ragged_batches(model) for model in job.models):
        groups, respond = length_groups(job.models, lengths), _continuously
    else:
        groups, respond = length_buckets(lengths, 0, BATCH_TOKENS), _in_lockstep
    return [
        response for group in groups for response in respond(texts[group.start : group.stop], job)
    ]


def _with_response(text: Text, response: Response, author: Author, ends: Sequence[int]) -> Text:
    return replace(
        text,
        response_ids=response.tokens,
        author=author,
        by_teacher=response.by_teacher if any(response.by_teacher) else [],
        ended=response.tokens[-1] in ends,
        log_probs=response.log_probs,
        earlier=(),
    )


def _in_lockstep(texts: Sequence[Text], job: GenerationJob) -> list[Response]:
    token_sampler, models = job.token_sampler, job.models
    if isinstance(token_sampler, SpeculativeSampler):
        token_sampler = token_sampler.token_by_token
    prompts = [job.prompt(text) for text in texts]
    responses = fallback.generate_left_padded(
        prompts, models, token_sampler, job.max_new_tokens, end_ids(models[0])
    )
    job.report(responses)
    return responses


def _continuously(texts: Sequence[Text], job: GenerationJob) -> list[Response]:
    longest = len(texts[0].prompt_ids) + job.max_new_tokens
    size = EngineSize(len(texts), longest, job.max_new_tokens)
    engine = engine_for(job.models, job.token_sampler, size)
    waiting: Waiting = deque(enumerate(texts))
    occupants: list[int | None] = [None] * engine.slots.count  # index of the text in each slot
    responses: dict[int, Response] = {}
    while len(responses) < len(texts):
        _refill(engine, occupants, waiting, job)
        if not waiting and not engine.on_gpu:
            occupants = _shrink(engine, occupants)
        finished = _finished(occupants, engine.advance())
        if finished:
            new = engine.responses(list(finished))
            responses |= zip(finished.values(), new, strict=True)
            for row in finished:
                occupants[row] = None
            job.report(new)
    return [responses[index] for index in range(len(texts))]


def _refill(
    engine: GenerationEngine, occupants: list[int | None], waiting: Waiting, job: GenerationJob
) -> None:
    """Gives free slots to waiting prompts; a few alone aren't worth a prefill."""
    free = [row for row, text in enumerate(occupants) if text is None]
    if not waiting or len(free) < REFILL * len(occupants):
        return
    rows = free[: len(waiting)]
    prompts = []
    for row in rows:
        occupants[row], text = waiting.popleft()
        prompts.append(job.prompt(text))
    engine.add(rows, prompts)


def _finished(occupants: Sequence[int | None], active: Sequence[bool]) -> dict[int, int]:
    """The slots whose sequences have just finished, with the indices of their texts."""
    return {row: text for row, text in enumerate(occupants) if text is not None and not active[row]}


def _shrink(engine: GenerationEngine, occupants: list[int | None]) -> list[int | None]:
    """The occupants after free slots were dropped, where that is worth copying the rest."""
    occupied = [row for row, text in enumerate(occupants) if text is not None]
    if not occupied or len(occupied) > SHRINK_BELOW * len(occupants):
        return occupants
    engine.select(occupied)
    return [occupants[row] for row in occupied]
