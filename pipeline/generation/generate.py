"""Which texts are written beside which: whoever ends makes room for the next.

The longest prompts come first, so that like lengths meet and short texts are left for the end.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Author, Text
from pipeline.generation import fallback
from pipeline.generation.capacity import BATCH_TOKENS, engine_for, length_groups
from pipeline.generation.engine import GenerationEngine, length_buckets, supports_ragged_batches
from pipeline.generation.sampling import SpeculativeSampler, TokenSampler
from pipeline.generation.slots import Prompt, Response, uniforms
from pipeline.models.flops import record_generation
from pipeline.models.language_model import end_ids
from pipeline.models.positions import check_table
from pipeline.runtime.progress import ProgressLog

REFILL = 1 / 8  # share of the slots that is free before new prompts are read
SHRINK_BELOW = 0.5  # with no text waiting, free slots are given up when no more is still written


@dataclass(frozen=True)
class Work:
    """By whom and how texts are written, and who is told when some are done."""

    models: Sequence[PreTrainedModel]
    choose: TokenSampler | SpeculativeSampler
    time: int
    seed: int
    pace: ProgressLog | None

    def asked(self, text: Text) -> Prompt:
        """The prompt of a text, with its own randomness."""
        return Prompt(text.prompt_ids, uniforms(self.seed, text.example_id, self.time))

    def tell(self, responses: Sequence[Response]) -> None:
        """These are done."""
        if self.pace:
            self.pace.step(len(responses), sum(len(one.tokens) for one in responses))


@torch.no_grad()
def generate(
    texts: Sequence[Text],
    models: Sequence[PreTrainedModel],
    choose: TokenSampler | SpeculativeSampler,
    max_new_tokens: int,
    seed: int,
    author: Author,
    pace: ProgressLog | None = None,
) -> list[Text]:
    """The prompts of `texts` with new responses, in the same order."""
    for model in models:
        check_table(model.config, texts, max_new_tokens)
    order = sorted(range(len(texts)), key=lambda at: -len(texts[at].prompt_ids))
    apart = with_unique_ids(texts)
    ordered = [apart[at] for at in order]
    work = Work(models, choose, max_new_tokens, seed, pace)
    in_slots = all(supports_ragged_batches(model) for model in models)

    responses: list[Response] = []
    lengths = [len(text.prompt_ids) + max_new_tokens for text in ordered]
    for lot in (
        length_groups(models, lengths) if in_slots else length_buckets(lengths, 0, BATCH_TOKENS)
    ):
        group = ordered[lot.start : lot.stop]
        responses += _in_slots(group, work) if in_slots else _in_lockstep(group, work)
    ends = end_ids(models[0])
    found = {
        at: _answered(texts[at], response, author, ends)
        for at, response in zip(order, responses, strict=True)
    }
    written = [found[at] for at in range(len(texts))]
    dropped = {at: one.dropped for at, one in zip(order, responses, strict=True)}
    record_generation(models, written, [dropped[at] for at in range(len(texts))])
    return written


def with_unique_ids(texts: Sequence[Text]) -> list[Text]:
    """The texts; one that comes again, as in a step larger than its data, has randomness anew."""
    seen: Counter[str] = Counter()
    found = []
    for text in texts:
        again = seen[text.example_id]
        found.append(replace(text, example_id=f"{text.example_id}/{again}") if again else text)
        seen[text.example_id] += 1
    return found


def _answered(text: Text, response: Response, author: Author, ends: Sequence[int]) -> Text:
    return replace(
        text,
        response_ids=response.tokens,
        author=author,
        teacher_tokens=sum(response.by_teacher),
        ended=response.tokens[-1] in ends,
        log_probs=response.log_probs,
    )


def _in_lockstep(texts: Sequence[Text], work: Work) -> list[Response]:
    drafted = isinstance(work.choose, SpeculativeSampler)
    choose = work.choose.token_by_token if drafted else work.choose
    asked = [work.asked(text) for text in texts]
    found = fallback.generate_left_padded(
        asked, work.models, choose, work.time, end_ids(work.models[0])
    )
    work.tell(found)
    return found


def _in_slots(texts: Sequence[Text], work: Work) -> list[Response]:
    length = len(texts[0].prompt_ids) + work.time
    decoder = engine_for(work.models, work.choose, texts=len(texts), length=length, time=work.time)
    waiting, found = deque(enumerate(texts)), {}
    holds: list[int | None] = [None] * decoder.slots.count  # the text in each slot
    while len(found) < len(texts):
        rows = _next_rows(holds, len(waiting))
        if rows:
            numbers, begun = zip(*(waiting.popleft() for _ in rows), strict=True)
            decoder.begin(rows, [work.asked(text) for text in begun])
            _place(holds, rows, numbers)
        if not waiting and not decoder.on_gpu:
            holds = _shrunk(decoder, holds)

        writing = decoder.advance()
        ended = [row for row, held in enumerate(holds) if held is not None and not writing[row]]
        if ended:
            responses = decoder.responses(ended)
            found |= zip((holds[row] for row in ended), responses, strict=True)
            _place(holds, ended, [None] * len(ended))
            work.tell(responses)
    return [found[at] for at in range(len(texts))]


def _next_rows(holds: Sequence[int | None], waiting: int) -> list[int]:
    """The slots that new texts should go to now, if any: one alone isn't worth a reading."""
    free = [row for row, held in enumerate(holds) if held is None]
    return free[:waiting] if len(free) >= REFILL * len(holds) else []


def _place(holds: list[int | None], rows: Sequence[int], texts: Sequence[int | None]) -> None:
    for row, text in zip(rows, texts, strict=True):
        holds[row] = text


def _shrunk(decoder: GenerationEngine, holds: list[int | None]) -> list[int | None]:
    live = [row for row, held in enumerate(holds) if held is not None]
    if not live or len(live) > SHRINK_BELOW * len(holds):
        return holds
    decoder.keep(live)
    return [holds[row] for row in live]
