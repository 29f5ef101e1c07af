"""A checkpoint as an lm-eval model: its HFLM, with our batches and our generation."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.batch import Batch, Text, micro_batches
from pipeline.data.chat_encoding import with_fixed_date
from pipeline.data.encoding import Encoder
from pipeline.data.examples import Piece
from pipeline.distributions.log_probs import Support, log_probs_on, target_log_prob
from pipeline.evaluation.writer import Decoding, Writer
from pipeline.models import positions
from pipeline.models.flops import record_pass
from pipeline.models.language_model import autocast, lm_head, response_hidden
from pipeline.runtime.progress import ProgressLog, log
from pipeline.settings.data import ChatTemplate

HEAD_TOKENS = 1024  # distributions over the vocabulary that are held at once

Request = tuple[tuple[str, str] | None, list[int], list[int]]  # text, context ids, continuation ids
Likelihood = tuple[float, bool]  # the log-probability, and whether greedy decoding gives it


@dataclass(frozen=True)
class SharedText:
    """A text that is read once for all requests that differ in their last token alone."""

    text: Text
    requests: list[tuple[int, list[int]]]  # index of the request, and the continuation's ids


class CheckpointLM(HFLM):
    """Likelihoods equal to HFLM's, in batches of at most `max_tokens`; text by our generation."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> None:
        logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every ready-made model
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=1)
        if (most := positions.of_config(model.config)) is not None:
            self._max_length = min(most, self.max_length)
        self.max_tokens = max_tokens
        self.encoder, self.writer = Encoder(tokenizer), Writer(model, tokenizer)
        self.label = "lm-eval"  # for the log
        self.prompts: Mapping[str, Sequence[int]] = {}  # ids of those that are not lm-eval's, whole
        self.chat: ChatTemplate | None = None  # that lm-eval's own prompts are asked through
        self.truncated: Counter[str] = Counter()  # left-truncated texts, by label
        # by seed, where the responses to all prompts of a task were written before
        self.written: Mapping[int, list[Text]] = {}

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **options: object
    ) -> list[int]:
        """HFLM's ids, without the tokens that some tokenizers add at the end of a text."""
        ids = super().tok_encode(string, add_special_tokens, **options)
        suffix = len(self.encoder.suffix)
        if not suffix or len(ids) == len(super().tok_encode(string, False, **options)):
            return ids  # nothing was added
        return ids[:-suffix]

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The text of a question and its examples, as turns of the training's template."""
        assert self.chat is not None
        variables: dict[str, Any] = {**self.chat.kwargs}  # of the template, as a user gives them
        text = self.tokenizer.apply_chat_template(
            chat_history,
            chat_template=with_fixed_date(self.chat.text),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **variables,
        )
        assert isinstance(text, str)
        return text

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
        for index, request in enumerate(requests):
            rolling = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            windows += [(None, *utils.make_disjoint_window(window)) for window in rolling]
            owners += [index] * (len(windows) - len(owners))
        totals = [0.0] * len(requests)
        for owner, (log_prob, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += log_prob
        return totals

    @torch.no_grad()
    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Likelihood]:
        shared = list(self._share(requests))
        by_id = {each.text.example_id: each for each in shared}
        likelihoods: dict[int, Likelihood] = {}
        progress = ProgressLog(self.label, len(requests), "requests")
        for batch in micro_batches([each.text for each in shared], self.max_tokens, self.device):
            likelihoods |= self._score(batch, [by_id[text.example_id] for text in batch.texts])
            progress.step(len(likelihoods) - progress.done)
        return [likelihoods[index] for index in range(len(requests))]

    def _share(self, requests: Sequence[Request]) -> Iterator[SharedText]:
        """A text for all requests that differ in their last id alone, left-truncated.

        So the choices A, B, C, D after one question are read once.
        """
        owners_of: defaultdict[tuple[int, ...], list[tuple[int, list[int]]]] = defaultdict(list)
        truncated = 0
        for index, (_, context, continuation) in enumerate(requests):
            if len(continuation) > self.max_length:
                raise ValueError(
                    f"{self.label}: a continuation has {len(continuation)} tokens, and the model "
                    f"reads {self.max_length}, which leaves nothing of what comes before; leave "
                    "the task out"
                )
            ids = context + continuation
            truncated += len(ids) > self.max_length + 1
            window = ids[-(self.max_length + 1) :]
            owners_of[tuple(window[:-1])].append((index, continuation))
        self._count_truncated(truncated, len(requests))
        for number, (read, owners) in enumerate(owners_of.items()):
            longest = max((ids for _, ids in owners), key=len)
            prompt = read[: len(read) + 1 - len(longest)]
            yield SharedText(Text(str(number), prompt, longest), owners)

    def _score(self, batch: Batch, shared: Sequence[SharedText]) -> dict[int, Likelihood]:
        """The likelihoods of all requests in a batch, by their index."""
        ends = torch.tensor([len(each.text.response_ids) for each in shared]).cumsum(0).tolist()
        owners, rows, targets = [], [], []
        for end, each in zip(ends, shared, strict=True):
            for owner, ids in each.requests:
                owners += [owner] * len(ids)
                rows += range(end - len(ids), end)
                targets += ids
        log_probs, is_likeliest = self._of_targets(batch, rows, targets)
        distinct, number = torch.tensor(owners).unique(return_inverse=True)
        sums = torch.zeros(len(distinct), dtype=torch.float64).index_add_(0, number, log_probs)
        misses = torch.zeros(len(distinct)).index_add_(0, number, (~is_likeliest).float())
        pairs = zip(distinct.tolist(), sums.tolist(), misses.tolist(), strict=True)
        return {owner: (total, not missed) for owner, total, missed in pairs}

    def _of_targets(
        self, batch: Batch, rows: Sequence[int], targets: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of target tokens at rows of a batch, and whether each is top-ranked.

        The vocabulary-wide distributions of a few tokens exist at once, however long a text is.
        """
        with autocast(self.device, "auto"):
            hidden = response_hidden(self.model, batch)
        record_pass(self.model, positions=0, scored=batch.token_count)
        pairs = torch.tensor([rows, targets], device=hidden.device)
        log_probs, is_likeliest = [], []
        for chunk, ids in pairs.split(HEAD_TOKENS, dim=1):
            with autocast(self.device, "auto"):
                logits = lm_head(self.model, hidden[chunk])
            on_support = log_probs_on(logits, Support(target=ids))
            log_probs.append(target_log_prob(on_support, ids).double().cpu())
            is_likeliest.append((on_support.argmax(-1) == ids).cpu())
        return torch.cat(log_probs), torch.cat(is_likeliest)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """A response to each request, cut at its stop strings."""
        responses: dict[int, str] = {}
        by_options: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            by_options.setdefault(repr(sorted(request.arguments[1].items())), []).append(index)
        progress = ProgressLog(self.label, len(requests))
        for indices in by_options.values():
            decoding = Decoding.of(requests[indices[0]].arguments[1], self.max_gen_toks)
            prompts = [requests[index].arguments[0] for index in indices]
            texts = self._respond(prompts, decoding, progress)
            for index, text in zip(indices, texts, strict=True):
                responses[index] = decoding.cut(self.writer.decode(text))
        return [responses[index] for index in range(len(requests))]

    def _respond(self, prompts: list[str], decoding: Decoding, progress: ProgressLog) -> list[Text]:
        """The responses to prompts that share their options."""
        if (written := self.written.get(decoding.seed)) is not None:
            assert [text.example_id for text in written] == prompts
            return written
        texts = self._prompt_texts(prompts, self.max_length - decoding.length)
        if self.prompts:
            keys = "evaluation.max_new_tokens, or evaluation.prompt_tokens for long items"
            name, config = f"{self.label}: the model", self.model.config
            positions.check(name, config, texts, decoding.length, keys)
        return self.writer.responses(texts, decoding, progress)

    def respond(self, prompts: list[str], asked: Mapping[str, object]) -> list[Text]:
        """The responses to prompts under lm-eval's options of a task."""
        decoding = Decoding.of(asked, self.max_gen_toks)
        return self._respond(prompts, decoding, ProgressLog(self.label, len(prompts)))

    def _prompt_texts(self, prompts: Sequence[str], longest: int) -> list[Text]:
        """Prompts as texts to be continued; those of lm-eval are left-truncated to `longest`.

        Prompts whose ids are given are never truncated: all models get the same ones.
        """
        if all(prompt in self.prompts for prompt in prompts):
            return [Text(prompt, self.prompts[prompt], []) for prompt in prompts]
        if longest < 1:
            raise ValueError(
                f"{self.label}: the model reads {self.max_length} tokens, which leaves no room for "
                "a prompt before its response; lower evaluation.max_new_tokens"
            )
        encoded = self.encoder.prompts([[Piece(prompt, True)] for prompt in prompts])
        self._count_truncated(sum(len(ids) > longest for ids in encoded), len(prompts))
        return [
            Text(prompt, ids[-longest:], []) for prompt, ids in zip(prompts, encoded, strict=True)
        ]

    def _count_truncated(self, truncated: int, texts: int) -> None:
        if truncated:
            self.truncated[self.label] += truncated
            share = f"{truncated} of {texts} texts"
            log(f"{self.label}: {share} were left-truncated to the context window")
