"""A checkpoint as lm-evaluation-harness sees it: its HFLM, with batches and a generator of ours."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.batch import Batch, Text, micro_batches
from pipeline.data.encoding import Encoder
from pipeline.data.examples import Piece
from pipeline.distributions.log_probs import Support, log_probs_on, target_log_prob
from pipeline.generation import generate, sampler
from pipeline.models import positions
from pipeline.models.flops import record_scores
from pipeline.models.language_model import autocast, lm_head, response_hidden
from pipeline.runtime.progress import ProgressLog, log
from pipeline.settings.generation import Sampling

HEAD_TOKENS = 1024  # distributions over the vocabulary that are held at once
TEXTS = 1024  # responses that are looked through for stop strings together
FIRST_TOKENS = 32  # of a greedy response, before it is looked for stop strings

Request = tuple[tuple[str, str] | None, list[int], list[int]]  # text, context ids, continuation ids
Likelihood = tuple[float, bool]  # the log-probability, and whether greedy decoding would write it


@dataclass(frozen=True)
class Reading:
    """What is read once for all requests that differ in their last token alone."""

    text: Text
    requests: list[tuple[int, list[int]]]  # place among the requests, and the continuation's ids


class CheckpointLM(HFLM):
    """Likelihoods that equal HFLM's, in batches by a token budget; text by our own decoder."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, budget: int
    ) -> None:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every ready-made model
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=1)
        self.budget = budget
        self.encoder = Encoder(tokenizer)
        self.label = "lm-eval"  # for the log
        self.prompts: Mapping[str, Sequence[int]] = {}  # ids of those that are not lm-eval's, whole
        self.cut: Counter[str] = Counter()  # texts that lost their beginning, by label
        self.written: dict[tuple[str, int], Text] = {}  # by prompt and seed: lengths and endings

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **options: Any
    ) -> list[int]:
        """HFLM's ids, without what some tokenizers put behind any text: more is to come there."""
        ids = super().tok_encode(string, add_special_tokens, **options)
        behind = len(self.encoder.behind)
        if not behind or len(ids) == len(super().tok_encode(string, False, **options)):
            return ids  # nothing was put around it
        return ids[:-behind]

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = True
    ) -> list[Likelihood]:
        """The likelihood of each continuation after its context."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """The log-probability of each text, cut into windows as HFLM does."""
        windows: list[Request] = []
        owners: list[int] = []
        for at, request in enumerate(requests):
            found = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            windows += [(None, *utils.make_disjoint_window(window)) for window in found]
            owners += [at] * (len(windows) - len(owners))
        totals = [0.0] * len(requests)
        for owner, (log_prob, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += log_prob
        return totals

    @torch.no_grad()
    def _loglikelihood_tokens(
        self,
        requests: Sequence[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Likelihood]:
        readings = self._readings(requests)
        by_name = {one.text.example_id: one for one in readings}
        found: dict[int, Likelihood] = {}
        pace = ProgressLog(self.label, len(requests), "requests")
        for batch in micro_batches([one.text for one in readings], self.budget, self.device):
            done = self._score(batch, [by_name[text.example_id] for text in batch.texts])
            found |= done
            pace.step(len(done))
        return [found[at] for at in range(len(requests))]

    def _readings(self, requests: Sequence[Request]) -> list[Reading]:
        """One text for all requests with the same ids but the last; too long ones lose their start.

        So the choices A, B, C, D after one question are read once.
        """
        sharing: defaultdict[tuple[int, ...], list[tuple[int, list[int]]]] = defaultdict(list)
        cut = 0
        for at, (_, context, continuation) in enumerate(requests):
            ids = context + continuation
            cut += len(ids) > self.max_length + 1
            kept = ids[-(self.max_length + 1) :]
            sharing[tuple(kept[:-1])].append((at, continuation))
        self._note_cut(cut, len(requests))
        readings = []
        for number, (read, owners) in enumerate(sharing.items()):
            longest = max((one for _, one in owners), key=len)
            prompt = read[: len(read) + 1 - len(longest)]
            readings.append(Reading(Text(str(number), prompt, longest), owners))
        return readings

    def _score(self, batch: Batch, readings: Sequence[Reading]) -> dict[int, Likelihood]:
        """The likelihoods of all requests in a batch, by their places."""
        ends = torch.tensor([len(one.text.response_ids) for one in readings]).cumsum(0).tolist()
        owners, places, targets = [], [], []
        for end, reading in zip(ends, readings, strict=True):
            for owner, ids in reading.requests:
                owners += [owner] * len(ids)
                places += range(end - len(ids), end)
                targets += ids
        log_probs, is_likeliest = self._of_targets(batch, places, targets)
        distinct, number = torch.tensor(owners).unique(return_inverse=True)
        sums = torch.zeros(len(distinct), dtype=torch.float64).index_add_(0, number, log_probs)
        misses = torch.zeros(len(distinct)).index_add_(0, number, (~is_likeliest).float())
        pairs = zip(distinct.tolist(), sums.tolist(), misses.tolist(), strict=True)
        return {owner: (total, not missed) for owner, total, missed in pairs}

    def _of_targets(
        self, batch: Batch, places: Sequence[int], targets: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of tokens after places of a batch, and whether each is the likeliest.

        The vocabulary-wide distributions of a few tokens exist at once, however long a text is.
        """
        with autocast(self.device, "auto"):
            hidden = response_hidden(self.model, batch)
        record_scores(self.model, batch.token_count)
        where = torch.tensor(places, device=hidden.device)
        wanted = torch.tensor(targets, device=hidden.device)
        log_probs, is_likeliest = [], []
        for rows, ids in zip(where.split(HEAD_TOKENS), wanted.split(HEAD_TOKENS), strict=True):
            with autocast(self.device, "auto"):
                logits = lm_head(self.model, hidden[rows])
            found = log_probs_on(logits, Support(target=ids))
            log_probs.append(target_log_prob(found, ids).double().cpu())
            is_likeliest.append((found.argmax(-1) == ids).cpu())
        return torch.cat(log_probs), torch.cat(is_likeliest)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """A response to each request, cut at its stop strings."""
        responses: dict[int, str] = {}
        by_options: dict[str, list[int]] = {}
        for at, request in enumerate(requests):
            by_options.setdefault(repr(sorted(request.args[1].items())), []).append(at)
        pace = ProgressLog(self.label, len(requests))
        for places in by_options.values():
            options = normalize_gen_kwargs(requests[places[0]].args[1], self.max_gen_toks)
            prompts = [requests[at].args[0] for at in places]
            for at, text in zip(places, self._answers(prompts, dict(options), pace), strict=True):
                self.written[requests[at].args[0], options.get("seed", 0)] = text
                responses[at] = _cut(self._decoded(text), options["until"])
        return [responses[at] for at in range(len(requests))]

    def _answers(
        self, prompts: list[str], options: dict[str, Any], pace: ProgressLog
    ) -> list[Text]:
        length = options["max_gen_toks"]
        asked = self._ask(prompts, self.max_length - length)
        if self.prompts:
            keys = "evaluation.max_new_tokens, or evaluation.prompt_tokens for long items"
            positions.check(f"{self.label}: the model", self.model.config, asked, length, keys)
        order = sorted(range(len(asked)), key=lambda at: len(asked[at].prompt_ids))
        found: dict[int, Text] = {}
        for first in range(0, len(order), TEXTS):
            places = order[first : first + TEXTS]
            texts = [asked[at] for at in places]
            found |= zip(places, self._write(texts, options, pace), strict=True)
        return [found[at] for at in range(len(asked))]

    def _ask(self, prompts: Sequence[str], most: int) -> list[Text]:
        """Prompts as texts to be continued; of lm-eval's, a long one loses its beginning.

        Those whose ids are given are never cut: all models of an experiment are asked the same.
        """
        if all(prompt in self.prompts for prompt in prompts):
            return [Text(prompt, self.prompts[prompt], []) for prompt in prompts]
        if most < 1:
            raise ValueError(
                f"{self.label}: the model reads {self.max_length} tokens, which leaves no room for "
                "a prompt before its response; lower evaluation.max_new_tokens"
            )
        encoded = self.encoder.prompts([[Piece(prompt, True)] for prompt in prompts])
        self._note_cut(sum(len(ids) > most for ids in encoded), len(prompts))
        pairs = zip(prompts, encoded, strict=True)
        return [Text(prompt, ids[-most:], []) for prompt, ids in pairs]

    def _note_cut(self, cut: int, asked: int) -> None:
        if cut:
            self.cut[self.label] += cut
            log(f"{self.label}: {cut} of {asked} texts lose their beginning: too long")

    def _write(self, texts: list[Text], options: dict[str, Any], pace: ProgressLog) -> list[Text]:
        """Responses; greedy ones with stop strings are written on until one occurs, or the end.

        What is drawn depends on the place in the response, so a sampled one is written in one go.
        """
        until, most = options["until"], options["max_gen_toks"]
        if options.get("do_sample") or not any(until):
            return self._continued(texts, options, most, pace)

        length = min(FIRST_TOKENS, most)
        texts = self._continued(texts, options, length)
        while length < most:
            open_ones = [at for at, text in enumerate(texts) if self._goes_on(text, until)]
            more = min(length, most - length)
            longer = self._continued([texts[at] for at in open_ones], options, more)
            for at, text in zip(open_ones, longer, strict=True):
                texts[at] = text
            length += more
        pace.step(len(texts), sum(len(text.response_ids) for text in texts))
        return texts

    def _goes_on(self, text: Text, until: list[str]) -> bool:
        decoded = self._decoded(text)
        return not text.ended and not any(stop in decoded for stop in until if stop)

    @torch.no_grad()
    def _continued(
        self,
        texts: list[Text],
        options: dict[str, Any],
        length: int,
        pace: ProgressLog | None = None,
    ) -> list[Text]:
        """The texts with so many tokens more, their earlier responses kept."""
        if not texts:
            return []
        sampled = options.get("do_sample", False)
        sampling = Sampling(
            temperature=options.get("temperature", 1.0) if sampled else 0,
            top_p=options.get("top_p") or 1.0,
            top_k=options.get("top_k") or 0,
        )
        asked = [Text(one.example_id, [*one.prompt_ids, *one.response_ids], []) for one in texts]
        seed = options.get("seed", 0)
        choose = sampler(sampling)
        more = generate(asked, [self.model], choose, length, seed, "student", pace)
        return [
            Text(
                old.example_id,
                old.prompt_ids,
                [*old.response_ids, *new.response_ids],
                ended=new.ended,
            )
            for old, new in zip(texts, more, strict=True)
        ]

    def _decoded(self, text: Text) -> str:
        ids = text.response_ids[:-1] if text.ended else text.response_ids
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def _cut(text: str, stops: list[str]) -> str:
    places = [text.find(stop) for stop in stops if stop and stop in text]
    return text[: min(places)] if places else text
