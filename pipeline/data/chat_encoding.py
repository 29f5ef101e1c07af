"""Conversations to token ids by a chat template, and which of them are trained on.

The ids of a conversation are those of `apply_chat_template`; a prompt's are those with
`add_generation_prompt`, and must be how the conversation begins. An answer that is trained on
begins where the prompt for it ends, and ends with the token that ends the turn. Where it ends in
the text is told by the conversation up to it, and by the template's generation mask where it has
one: both must agree.

The text of a special token in a message is plain text. A template that writes today's date, as
Llama 3's and SmolLM3's do, is told a fixed one: texts and prompts would differ from day to day.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from pipeline.data.chat_template_syntax import GENERATION
from pipeline.data.conversations import Conversation
from pipeline.data.encoding import Encoder, Pair, rest_of
from pipeline.data.examples import Piece
from pipeline.settings.data import ChatTemplate

# Around the id of a special token whose text is in a message: Unicode keeps these out of any text.
OPEN, CLOSE = "\ufdd2", "\ufdd3"
SPECIAL = re.compile(f"{OPEN}(\\d+){CLOSE}")
NOW, TODAY = "strftime_now", date(2024, 7, 26)  # the date that Llama 3's template has without it
DIRECTIVES = ("-d", "-m", *"aAbBdHIjmMpSuUwWyY")  # of a date's format
SHOWN = 40  # characters of a text in an error message


@dataclass(frozen=True)
class Turn:
    """An answer in the text of a conversation: the prompt for it, and where it ends."""

    prompt: str
    end: int


@dataclass(frozen=True)
class ChatEncoder:
    """A tokenizer with a chat template."""

    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    ends: Sequence[int]  # the tokens that end a text of the model

    def prompts(self, chats: Sequence[Conversation]) -> list[list[int]]:
        """The ids that ask for the last answer of each conversation."""
        return [self._ids(self._text(chat, len(chat.messages) - 1, asks=True)) for chat in chats]

    def whole(self, chat: Conversation) -> list[int]:
        """The ids of a conversation with its last answer."""
        return self._ids(self._text(chat, len(chat.messages)))

    def pair(self, chat: Conversation) -> Pair:
        """The prompt for the last answer, and the answer up to the token that ends it.

        Raises:
            ValueError: for a conversation that the template refuses, or where it doesn't say what
                is to be trained on.
        """
        whole, generated = self._rendered(chat, len(chat.messages), asks=False)
        *earlier, last = self._turns(chat, whole, self._marked(chat, generated))
        ids, prompt = self._ids(whole), self._ids(last.prompt)
        spans = [
            self._span(chat, self._ids(turn.prompt), whole[: turn.end], prompt) for turn in earlier
        ]
        span = self._span(chat, prompt, whole[: last.end], ids)
        if span is None:
            alone = self.encoder.alone(self._pieces(whole[len(last.prompt) : last.end]))
            answer = alone[: self._length(chat, alone)]
        else:
            answer = ids[slice(*span)]
        return Pair(
            prompt,
            answer,
            is_merged=span is None or None in spans,
            has_special_text=self.encoder.has_special_text(self._pieces(whole)),
            earlier=tuple(each for each in spans if each),
        )

    def _span(
        self, chat: Conversation, before: list[int], text: str, ids: list[int]
    ) -> tuple[int, int] | None:
        """The place in ids of the answer that ends a text; None where a token reaches into it."""
        if rest_of(before, ids) is None:
            return None
        first = len(before)
        answer = ids[first : _shared(self._ids(text), ids)]
        return first, first + self._length(chat, answer)

    def _length(self, chat: Conversation, answer: list[int]) -> int:
        """The length of an answer up to the token that ends it: an EOS, else the last special."""
        ends = [place for place, id in enumerate(answer) if id in self.ends][:1]
        specials = self.encoder.special_tokens.values()
        ends = ends or [place for place, id in enumerate(answer) if id in specials][-1:]
        if not ends:
            names = ", ".join(self.tokenizer.convert_ids_to_tokens(list(self.ends)))
            raise self._fault(
                chat,
                f"doesn't end what the assistant generates with a special token, such as {names}: "
                "a model would not learn to stop",
            )
        rest = str(self.tokenizer.decode(answer[ends[0] + 1 :], skip_special_tokens=True))
        if rest.strip():
            end = self.tokenizer.convert_ids_to_tokens(answer[ends[0]])
            raise self._fault(chat, f"has more of an answer after its {end}: {rest:.{SHOWN}}")
        return ends[0] + 1

    def _turns(
        self, chat: Conversation, whole: str, marked: dict[int, tuple[int, int]] | None
    ) -> Iterator[Turn]:
        """The answers that are trained on, the last one last."""
        first = -1 if self.template.answers == "last" else 0
        for place in chat.answers[first:]:
            prompt = self._text(chat, place, asks=True)
            self._check_begins(chat, prompt, whole, "for an answer")
            told = self._text(chat, place + 1)
            if marked is None:
                self._check_begins(chat, told, whole, "up to an answer")
                yield Turn(prompt, len(told))
                continue
            begin, end = marked[place]
            if begin != len(prompt) or (whole.startswith(told) and end > len(told)):
                raise self._fault(
                    chat,
                    f"marks {whole[begin:end]!r:.{SHOWN}} as generated, but its prompt ends before "
                    f"{whole[len(prompt) : len(told)]!r:.{SHOWN}}",
                )
            yield Turn(prompt, end)

    def _check_begins(self, chat: Conversation, part: str, whole: str, what: str) -> None:
        if not whole.startswith(part):
            place = _shared(part, whole)
            raise self._fault(
                chat,
                f"writes the text {what} otherwise than in the whole conversation: "
                f"{part[place:]!r:.{SHOWN}} for {whole[place:]!r:.{SHOWN}}; set "
                "data.template.answers to last, or use a template without this difference",
            )

    def _marked(
        self, chat: Conversation, spans: list[tuple[int, int]]
    ) -> dict[int, tuple[int, int]] | None:
        """What the template marks as generated, by the place of the message; None without marks."""
        if not GENERATION.search(self._source(chat)):
            if self.template.generation_mask:
                raise self._fault(chat, "has no {% generation %}; leave out generation_mask")
            return None
        roles = enumerate(message["role"] for message in chat.messages)
        places = [place for place, role in roles if role == "assistant"]
        if len(places) != len(spans):
            raise self._fault(
                chat, f"marks {len(spans)} of its {len(places)} turns of the assistant as generated"
            )
        return dict(zip(places, spans, strict=True))

    def _text(self, chat: Conversation, count: int, asks: bool = False) -> str:
        return self._rendered(chat, count, asks)[0]

    def _rendered(
        self, chat: Conversation, count: int, asks: bool
    ) -> tuple[str, list[tuple[int, int]]]:
        """The text of the first messages, and where in it lies what is marked as generated."""
        source = self._source(chat)
        try:
            rendered: Any = render_jinja_template(
                conversations=[self._protected(list(chat.messages[:count]))],
                tools=self._protected(list(chat.tools)) or None,
                chat_template=source,
                add_generation_prompt=asks,
                return_assistant_tokens_mask=bool(GENERATION.search(source)),
                **{**self.tokenizer.special_tokens_map, **self.template.kwargs},
            )
        except Exception as error:  # whatever the code in a template can raise
            reason = " ".join(f"{error}".split()) or type(error).__name__
            raise self._fault(chat, f"refuses the conversation: {reason:.200}") from None
        (text,), spans = rendered
        return text, spans[0] if spans else []

    def _source(self, chat: Conversation) -> str:
        if self.template.text:
            return with_fixed_date(self.template.text)
        if not self.tokenizer.chat_template:
            raise ValueError(
                "data.template = 'chat': this tokenizer has no chat template; name a file with "
                "one, as `template: {chat: FILE.jinja}`, or write a text template"
            )
        return with_fixed_date(self.tokenizer.get_chat_template(tools=list(chat.tools) or None))

    def _protected(self, value: Any) -> Any:
        """A value in which the texts of special tokens are out of a tokenizer's sight."""
        match value:
            case str() if self.encoder.special_tokens:
                tokens = self.encoder.special_tokens
                return self.encoder.specials.sub(lambda m: f"{OPEN}{tokens[m[0]]}{CLOSE}", value)
            case list():
                return [self._protected(each) for each in value]
            case dict():
                return {key: self._protected(each) for key, each in value.items()}
        return value

    def _pieces(self, text: str) -> list[Piece]:
        """A text whose special tokens are the template's, but for those of the messages."""
        parts = enumerate(SPECIAL.split(text))  # every other one is the id of a special token
        names = {str(id): token for token, id in self.encoder.special_tokens.items()}
        return [Piece(names[part], False) if i % 2 else Piece(part, True) for i, part in parts]

    def _ids(self, text: str) -> list[int]:
        return self.encoder.encoded([self._pieces(text)])[0]

    def _fault(self, chat: Conversation, fault: str) -> ValueError:
        own = self.template.chat == "tokenizer"
        name = "the tokenizer's chat template" if own else self.template.chat
        return ValueError(f"{chat.location}: {name} {fault}")

    @cached_property
    def encoder(self) -> Encoder:
        """The tokenizer's encoder of text."""
        return Encoder(self.tokenizer)


def with_fixed_date(source: str) -> str:
    """A template whose today is always the same day."""
    if NOW not in source:
        return source
    filled = "".join(f" | replace('%{each}', '{TODAY:%{each}}')" for each in DIRECTIVES)
    return f"{{% macro {NOW}(format) %}}{{{{ format{filled} }}}}{{% endmacro +%}}{source}"


def _shared(first: Sequence[object], second: Sequence[object]) -> int:
    """How long the beginning is that both have."""
    equal = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    return sum(1 for _ in equal)
