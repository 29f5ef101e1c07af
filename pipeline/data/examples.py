"""Examples of a data set: instruction, responses and id."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from pipeline.artifacts.schemas import BATCH_ROWS, SPLITS, Row
from pipeline.data import conversations
from pipeline.data.conversations import Conversation
from pipeline.settings.data import AnyTemplate, ChatTemplate, Template

PLACE = re.compile(r"\{(instruction|input)\}")


@dataclass(frozen=True)
class Example:
    """A question and its reference responses; the first response is the one to train on."""

    instruction: str
    input: str
    responses: tuple[str, ...]
    source: str
    chat: str = ""  # the whole conversation, where it came as one: `Conversation.dumps`
    location: str = field(default="", compare=False)  # of its row, where it came as one


@dataclass(frozen=True)
class Piece:
    """A part of a text, and whether it is the template's: only there are special tokens tokens."""

    text: str
    is_markup: bool


Pieces = Sequence[Piece]


@dataclass(frozen=True)
class RawDataset:
    """The content of a source: its splits, plain text for language modelling, and warnings."""

    splits: Mapping[str, Sequence[Example]]
    plain: list[str]
    facts: dict[str, object]
    warnings: list[str]


# Signs that have one meaning and several characters, after Unicode's own compatibility forms.
SAME_SIGNS = str.maketrans(
    dict.fromkeys("‘’‚‛′´ʼ", "'") | dict.fromkeys("“”„‟″«»", '"') | dict.fromkeys("‐‑‒–—―−", "-")
)


def normalise(text: str) -> str:
    """`text` without regard to case, white space and Unicode form: what two copies share.

    Composed and decomposed letters are the same, so are full-width and plain ones, curly and
    straight quotes, all dashes; what has no width (zero-width spaces, soft hyphens, marks of
    direction) is left out.
    """
    if text.isascii():  # as most are: it has one form
        return " ".join(text.casefold().split())
    signs = text.translate(SAME_SIGNS)  # first: NFKC makes a space and a mark of some quotes
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", signs).casefold())
    seen = "".join(character for character in folded if unicodedata.category(character) != "Cf")
    return " ".join(seen.translate(SAME_SIGNS).split())


def dedup_key(example: Example) -> tuple[str, str]:
    """The key that examples with the same question share."""
    return normalise(example.instruction), normalise(example.input)


def question_keys(example: Example) -> list[tuple[str, str]]:
    """The same of all questions that an example answers: of a conversation, one for each answer."""
    if not example.chat:
        return [dedup_key(example)]
    chat = conversations.loads(example.chat, example.location)
    parts = (replace(chat, messages=chat.messages[: place + 1]) for place in chat.answers)
    return [(normalise(part.question), "") for part in parts]


def opening_key(example: Example) -> tuple[str, str]:
    """The key that examples which begin alike share: of a conversation, up to its first answer."""
    if not example.chat:
        return dedup_key(example)
    chat = conversations.loads(example.chat, example.location)
    return normalise(chat.opening.question), ""


def user_turns(example: Example) -> list[str]:
    """What a user says in an example, normalised: the turns of a conversation, in their order."""
    if not example.chat:
        return [normalise(f"{example.instruction} {example.input}")]
    messages = conversations.loads(example.chat, example.location).messages
    return [normalise(each["content"]) for each in messages if each["role"] == "user"]


def prompt_pieces(instruction: str, input: str, template: Template) -> list[Piece]:
    """The prompt in parts; an example without input has the template without one."""
    text = template.with_input if input.strip() else template.without_input
    values = {"instruction": instruction, "input": input}
    # One pass, so that an instruction which speaks of "{input}" stays as it is.
    parts = enumerate(PLACE.split(text))  # every other one is the name of a place
    return [Piece(values[part], False) if index % 2 else Piece(part, True) for index, part in parts]


def join_pieces(parts: Pieces) -> str:
    """The pieces as one text."""
    return "".join(part.text for part in parts)


def prompt(example: Example, template: AnyTemplate) -> str:
    """The text that a model continues; of a conversation, what it says, without its markup."""
    if isinstance(template, ChatTemplate):
        asked = conversations.single_turn(example.instruction, example.input, "", "").question
        return example.instruction if example.chat else asked
    return join_pieces(prompt_pieces(example.instruction, example.input, template))


@dataclass(frozen=True)
class Identified:
    """Examples with their ids."""

    ids: Sequence[str]
    examples: Sequence[Example]

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.ids)

    def __iter__(self) -> Iterator[tuple[str, Example]]:
        """Each id with its example."""
        return zip(self.ids, self.examples, strict=True)


def assign_ids(
    splits: Mapping[str, Sequence[Example]], template: AnyTemplate
) -> dict[str, Identified]:
    """Each example with an id derived from its content; copies end with their number.

    Test examples come first, so that a copy in training does not change their ids.
    """
    seen: Counter[str] = Counter()
    identified = {}
    for split in reversed(SPLITS):
        ids = [_numbered(_id(example, template), seen) for example in splits[split]]
        identified[split] = Identified(ids, splits[split])
    return identified


def _id(example: Example, template: AnyTemplate) -> str:
    content = "\0".join([prompt(example, template), *example.responses])
    readable = re.sub(r"[^A-Za-z0-9_.]+", "_", example.source)
    return f"{readable}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _numbered(name: str, seen: Counter[str]) -> str:
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}-{seen[name]}"


def column_batches(identified: Identified, template: AnyTemplate) -> Iterator[dict[str, list]]:
    """The columns of examples, some rows at a time; of no examples a batch without rows."""
    are_chats, rows = any(example.chat for _, example in identified), iter(identified)
    for _ in range(0, max(1, len(identified)), BATCH_ROWS):
        yield example_columns(islice(rows, BATCH_ROWS), template, are_chats)


def example_columns(
    identified: Iterable[tuple[str, Example]], template: AnyTemplate, are_chats: bool | None = None
) -> dict[str, list]:
    """The columns of EXAMPLES, or of CHAT_EXAMPLES; None: the latter where any is a chat."""
    rows = list(identified)
    columns = {
        "example_id": [example_id for example_id, _ in rows],
        "instruction": [example.instruction for _, example in rows],
        "input": [example.input for _, example in rows],
        "prompt": [prompt(example, template) for _, example in rows],
        "responses": [list(example.responses) for _, example in rows],
        "source": [example.source for _, example in rows],
    }
    if are_chats or (are_chats is None and any(example.chat for _, example in rows)):
        columns["chat"] = [example.chat for _, example in rows]
        columns["location"] = [example.location for _, example in rows]
    return columns


def conversation_of(row: Row) -> Conversation:
    """The conversation of an example's row; of one that came otherwise, its only turn."""
    location = row.get("location") or f"example {row['example_id']}"
    if row.get("chat"):
        return conversations.loads(row["chat"], location)
    answer = row["responses"][0]
    return conversations.single_turn(row["instruction"], row["input"], answer, location)
