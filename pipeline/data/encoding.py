"""Text to token ids, the same way for training, prompts and generation.

A prompt begins with what the tokenizer puts before any text (BOS), once, even where the template
begins with it too; what the tokenizer puts behind a text is left out, for a response follows there.

A response is tokenized behind its prompt: both together, cut where the prompt's own ids end. Where
a token reaches over that border, the prompt keeps the ids that a model is asked with, and the
response is tokenized separately, without the space that some tokenizers put before a text.

The text of a special token is the token in a template, and plain text in what the data hold.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tokenizers.processors import TemplateProcessing
from transformers import AddedToken, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipeline.data.examples import Piece, Pieces, join_pieces

# What may stand before a text so that it is not the first: of each kind, for some merge with it.
ANCHORS = ("0", ".", "\n", "x", " ")
OPEN, CLOSE = "\ufdd0", "\ufdd1"  # around an alias: Unicode keeps these out of any text


@dataclass(frozen=True)
class Pair:
    """A prompt and its response, and how they met."""

    prompt_ids: list[int]
    response_ids: list[int]
    is_merged: bool  # whether a token of both together reaches over the border
    has_special_text: bool  # whether the data have the text of a special token
    earlier: tuple[tuple[int, int], ...] = ()  # first and end in the prompt of what is trained on


@dataclass(frozen=True)
class Encoder:
    """A tokenizer as all stages use it."""

    tokenizer: PreTrainedTokenizerBase

    @property
    def prefix(self) -> list[int]:
        """The special tokens that the tokenizer adds before any text."""
        return self._around[0]

    @property
    def suffix(self) -> list[int]:
        """The special tokens that the tokenizer adds after any text."""
        return self._around[1]

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        text = "a"
        whole = self.tokenizer(text)["input_ids"]
        plain = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        starts = range(len(whole) - len(plain) + 1)
        start = next(start for start in starts if whole[start : start + len(plain)] == plain)
        return whole[:start], whole[start + len(plain) :]

    def prompts(self, prompts: Sequence[Pieces]) -> list[list[int]]:
        """The ids of each prompt. One of no token is EOS."""
        return [self._begun(ids) for ids in self.encoded(prompts)]

    def pairs(self, prompts: Sequence[Pieces], responses: Sequence[str]) -> list[Pair]:
        """Each prompt with its response, which EOS doesn't end yet."""
        whole = [
            [*pieces, Piece(response, False)]
            for pieces, response in zip(prompts, responses, strict=True)
        ]
        lists = (self.prompts(prompts), self.encoded(whole), whole)
        pairs = []
        for prompt, together, pieces in zip(*lists, strict=True):
            rest = rest_of(prompt, self._begun(together))
            pairs.append(
                Pair(
                    prompt,
                    self.alone(pieces[-1:]) if rest is None else rest,
                    is_merged=rest is None,
                    has_special_text=self.has_special_text(pieces),
                )
            )
        return pairs

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of plain texts, with nothing before them."""
        return self.encoded([[Piece(text, False)] for text in texts])

    def has_special_text(self, pieces: Pieces) -> bool:
        """Whether what the data hold, or what it makes with the template, has a special token's."""
        expected = sum(self._count(piece.text) for piece in pieces if piece.is_markup)
        return self._count(join_pieces(pieces)) != expected

    def _count(self, text: str) -> int:
        return len(self.specials.findall(text)) if self.special_tokens else 0

    def _begun(self, ids: list[int]) -> list[int]:
        has_it = ids[: len(self.prefix)] == self.prefix
        if begun := ids if has_it else [*self.prefix, *ids]:
            return begun
        end = self.tokenizer.eos_token_id
        assert isinstance(end, int)
        return [end]

    def encoded(self, texts: Sequence[Pieces]) -> list[list[int]]:
        """The ids of texts without anything around them."""
        if not texts:
            return []
        plain = self.tokenizer([join_pieces(pieces) for pieces in texts], add_special_tokens=False)
        return [
            self._escaped(pieces) if self.has_special_text(pieces) else ids
            for pieces, ids in zip(texts, plain["input_ids"], strict=True)
        ]

    def alone(self, response: Pieces) -> list[int]:
        """The ids of what stands behind a prompt, without the space before a first text."""
        for anchor in ANCHORS:
            pieces = [Piece(anchor, True)], [Piece(anchor, True), *response]
            rest = rest_of(*self.encoded(pieces))
            if rest is not None:
                return rest
        return self.encoded([response])[0]

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """The ids of the special tokens by their texts."""
        added = self.tokenizer.added_tokens_decoder.items()
        return {token.content: token_id for token_id, token in added if token.special}

    @cached_property
    def specials(self) -> re.Pattern[str]:
        """A pattern that the text of any special token fits; only where there is one."""
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))

    def _escaped(self, pieces: Pieces) -> list[int]:
        """The ids where special tokens are read in the template alone.

        There each is replaced by an alias, which a copy of the tokenizer has as a token that is not
        special, so that the text is tokenized as a whole and every special token in it as text.
        """
        text = "".join(
            self.specials.sub(lambda match: self._alias(match[0]), piece.text)
            if piece.is_markup
            else piece.text
            for piece in pieces
        )
        ids: list[int] = self._copy(text, add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return [self._of_aliases.get(token_id, token_id) for token_id in ids]

    def _alias(self, special: str) -> str:
        return f"{OPEN}{self.special_tokens[special]}{CLOSE}"

    @cached_property
    def _of_aliases(self) -> dict[int, int]:
        aliases = self._copy.convert_tokens_to_ids(list(map(self._alias, self.special_tokens)))
        assert isinstance(aliases, list)
        return dict(zip(aliases, self.special_tokens.values(), strict=True))

    @cached_property
    def _copy(self) -> PreTrainedTokenizerBase:
        if not self.tokenizer.is_fast:
            raise ValueError(
                f"the data hold the text of a special token ({', '.join(self.special_tokens)}), "
                "which this tokenizer, being none of the `tokenizers` library, can't read as text; "
                "remove it from the data"
            )
        tokenizer = copy.deepcopy(self.tokenizer)
        tokenizer.add_tokens(
            [
                AddedToken(
                    self._alias(token.content),
                    lstrip=token.lstrip,
                    rstrip=token.rstrip,
                    single_word=token.single_word,
                    normalized=False,
                    special=False,
                )
                for token in self.tokenizer.added_tokens_decoder.values()
                if token.special
            ]
        )
        return tokenizer


def without_bos(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, which now adds nothing to any text, and is saved and loaded so.

    Raises: ValueError for a tokenizer that is none of the `tokenizers` library.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ValueError(
            f"tokens.bos = false: {type(tokenizer).__name__} is none of the `tokenizers` library, "
            "so that its BOS can't be taken off; allowed: true"
        )
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A", pair="$A $B", special_tokens=[]
    )
    tokenizer.add_bos_token = False  # which families make their post-processor of when loaded
    return tokenizer


def rest_of(first: list[int], whole: list[int]) -> list[int] | None:
    """The ids of `whole` after its prefix `first`; None if it begins otherwise."""
    return whole[len(first) :] if whole[: len(first)] == first else None
