"""Encodes prompts and responses, and counts what is too long or has a special token's text.

A text that is too long is left out, or cut at its end: the prompt at its own limit, the response at
its own and at that of both together. EOS counts, so a response that was cut has none: a student
isn't taught to stop where its text was cut.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from pipeline.artifacts import artifact, schemas
from pipeline.data.chat_encoding import ChatEncoder
from pipeline.data.encoding import Encoder, Pair, without_bos
from pipeline.data.examples import Piece, Pieces, conversation_of, prompt_pieces
from pipeline.models import vocabulary
from pipeline.models.language_model import load_tokenizer
from pipeline.runtime.progress import log, some_of
from pipeline.settings.data import AnyTemplate, ChatTemplate, Template, TokensSettings, template_of
from pipeline.stages import command_line
from pipeline.stages.options import TokenizeOptions

COUNTS = {  # what is counted of the examples of a split, and what a warning says of them
    "long_prompts": None,
    "long_responses": None,
    "cut_prompts": "have a prompt that was cut at its end",
    "cut_responses": "have a response that was cut at its end: they don't teach to stop",
    "special_texts": "have the text of a special token, which is read as plain text",
    "merged_borders": "have a token that reaches from the prompt into the response; the prompt's "
    "ids are kept, and the response is tokenized separately",
}
TOO_LONG = {"long_prompts", "long_responses"}


@dataclass(frozen=True)
class Making:
    """The tokenizer, settings and template of all splits, and the tokens that end a text."""

    tokenizer: PreTrainedTokenizerBase
    settings: TokensSettings
    template: AnyTemplate
    ends: Sequence[int]


@dataclass(frozen=True)
class Kept:
    """The columns of a tokens file, and the ids of the examples that are counted, by what."""

    columns: dict[str, list]
    counted: dict[str, list[str]]


@dataclass
class Counts:
    """The counts of a split, whose examples come in batches: see `COUNTS`."""

    examples: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    counted: dict[str, list[str]] = field(default_factory=lambda: {what: [] for what in COUNTS})
    last_ids: dict[int, None] = field(default_factory=dict)  # of the responses, in their order

    def add(self, kept: Kept) -> None:
        """Counts a batch."""
        self.examples += len(kept.columns["example_id"])
        self.prompt_tokens += sum(map(len, kept.columns["prompt_ids"]))
        self.response_tokens += sum(map(len, kept.columns["response_ids"]))
        self.last_ids.update((ids[-1], None) for ids in kept.columns["response_ids"])
        for what, ids in kept.counted.items():
            self.counted[what] += ids

    def card(self) -> dict[str, int]:
        """The numbers, as they stand in the card."""
        return {
            "examples": self.examples,
            **{what: len(ids) for what, ids in self.counted.items()},
            "prompt_tokens": self.prompt_tokens,
            "response_tokens": self.response_tokens,
        }

    def warnings(self, split: str) -> list[str]:
        """A sentence for each kind that is worth one, naming some of the ids."""
        return [
            f"{len(ids)} {split} examples {COUNTS[what]}: {some_of(ids)}"
            for what, ids in self.counted.items()
            if ids and COUNTS[what]
        ]


def encode(
    rows: Sequence[Mapping],
    tokenizer: PreTrainedTokenizerBase,
    settings: TokensSettings,
    template: AnyTemplate | None = None,
    ends: Sequence[int] = (),
) -> Kept:
    """Prompt and first response of each example, the response with the token that ends it.

    Without a template the prompts are taken as a whole, as if all in them were of one.
    """
    if isinstance(template, ChatTemplate):
        encoder = ChatEncoder(tokenizer, template, ends)
        pairs = [encoder.pair(conversation_of(row)) for row in rows]
    else:
        pairs = text_pairs(rows, tokenizer, template)
    ids = [row["example_id"] for row in rows]
    marked_pairs = [marks(pair, settings) for pair in pairs]
    short_enough = [index for index, marked in enumerate(marked_pairs) if not marked & TOO_LONG]
    texts = [cut(pairs[index], settings) for index in short_enough]
    columns: dict[str, list] = {
        "example_id": [ids[index] for index in short_enough],
        "prompt_ids": [prompt_ids for prompt_ids, _ in texts],
        "response_ids": [response_ids for _, response_ids in texts],
    }
    if isinstance(template, ChatTemplate):
        columns["earlier_spans"] = [[*chain(*pairs[index].earlier)] for index in short_enough]
    counted = {
        what: [id for id, marked in zip(ids, marked_pairs, strict=True) if what in marked]
        for what in COUNTS
    }
    return Kept(columns, counted)


def template_of_data(data: Path) -> AnyTemplate:
    """The template that the prompts of a data set are in."""
    return template_of(artifact.read_json(data / artifact.MANIFEST)["settings"]["template"])


def text_pairs(
    rows: Sequence[Mapping], tokenizer: PreTrainedTokenizerBase, template: Template | None
) -> list[Pair]:
    """The prompt and the first response of each example, with EOS."""
    responses = [row["responses"][0] for row in rows]
    pairs = Encoder(tokenizer).pairs([prompt_of(row, template) for row in rows], responses)
    end = tokenizer.eos_token_id
    return [replace(pair, response_ids=[*pair.response_ids, end]) for pair in pairs]


def cut(pair: Pair, settings: TokensSettings) -> tuple[list[int], list[int]]:
    """The ids of prompt and response within the limits; the response keeps its end if it fits."""
    prompt = pair.prompt_ids[: settings.prompt_tokens]
    most = min(settings.response_tokens, settings.longest - len(prompt))
    return prompt, pair.response_ids[:most]


def marks(pair: Pair, settings: TokensSettings) -> set[str]:
    """The categories that an example is counted in; for one left out, the reasons alone."""
    prompt, response = len(pair.prompt_ids), len(pair.response_ids)
    left = settings.longest - min(prompt, settings.prompt_tokens)
    long_prompt = prompt > settings.prompt_tokens
    long_response = response > min(settings.response_tokens, left)
    seen = {"special_texts": pair.has_special_text, "merged_borders": pair.is_merged}
    if settings.too_long == "cut":
        seen |= {"cut_prompts": long_prompt, "cut_responses": long_response}
    elif long_prompt or long_response:
        seen = {"long_prompts": long_prompt, "long_responses": long_response}
    return {what for what, so in seen.items() if so}


def prompt_of(row: Mapping, template: Template | None) -> Pieces:
    """The prompt of an example in parts."""
    if template is None:
        return [Piece(row["prompt"], True)]
    return prompt_pieces(row["instruction"], row["input"], template)


def encode_plain(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, settings: TokensSettings
) -> dict[str, list]:
    """Plain text in pieces of a prompt's and a response's length, after one EOS as the prompt."""
    size, end = settings.longest, tokenizer.eos_token_id
    columns: dict[str, list] = {name: [] for name in schemas.TOKENS.names}
    for number, ids in enumerate(Encoder(tokenizer).texts(texts)):
        for first in range(0, len(ids), size):
            piece = ids[first : first + size]
            values = (f"plain-{number}-{first}", [end], piece)
            for name, value in zip(schemas.TOKENS.names, values, strict=True):
                columns[name].append(value)
    return columns


def write_split(data: Path, split: str, folder: Path, of: Making) -> Counts:
    """Writes a split to `folder`. Raises ValueError where no example fits the limits."""
    rows, counts = 0, Counts()

    def batches() -> Iterator[dict[str, list]]:
        """The columns of each batch of examples, which are counted on the way."""
        nonlocal rows
        for batch in schemas.read_batches(data / f"{split}.parquet", schemas.EXAMPLES):
            kept = encode(batch.to_pylist(), of.tokenizer, of.settings, of.template, of.ends)
            rows += batch.num_rows
            counts.add(kept)
            yield kept.columns

    schemas.write_batches(folder / f"{split}.parquet", batches(), schemas.TOKENS)
    if not counts.examples:
        raise ValueError(
            f"all {rows} {split} examples exceed {of.settings.prompt_tokens} prompt or "
            f"{of.settings.response_tokens} response tokens; raise the limits in `tokens`"
        )
    return counts


def write_plain(data: Path, folder: Path, of: Making) -> None:
    """Plain text as a file in `folder`, where the data have any."""
    path = data / "plain.parquet"
    if path.exists():
        texts = schemas.read(path, schemas.PLAIN).column("text").to_pylist()
        columns = encode_plain(texts, of.tokenizer, of.settings)
        schemas.write(folder / path.name, columns, schemas.TOKENS)


def run(options: TokenizeOptions) -> None:
    """Tokenizes all splits of a data set; the tokenizer is kept beside them."""
    settings = TokensSettings.model_validate(options.job.settings)
    inputs = command_line.begin(options)
    conventions = vocabulary.conventions_of_model(options.tokenizer)
    tokenizer = load_tokenizer(options.tokenizer)
    if not settings.bos:
        tokenizer = without_bos(tokenizer)
        conventions = replace(conventions, before=[])
    template = template_of_data(options.data)
    made_with = Making(tokenizer, settings, template, conventions.ends)

    with artifact.create(options.out, options.job, inputs) as (folder, facts):
        by_split = {
            split: write_split(options.data, split, folder, made_with) for split in schemas.SPLITS
        }
        write_plain(options.data, folder, made_with)
        tokenizer.save_pretrained(folder / "model")
        warnings = [line for split, counts in by_split.items() for line in counts.warnings(split)]
        card = {split: counts.card() for split, counts in by_split.items()}
        artifact.write_json(folder / "card.json", card | {"warnings": warnings})
        if isinstance(template, ChatTemplate):  # it has ends of its own
            conventions = conventions.with_ends(
                chain(*(counts.last_ids for counts in by_split.values()))
            )
        facts |= asdict(conventions) | {"warnings": warnings}
    for split, counts in card.items():
        log(f"{split}: {counts}")
    for warning in warnings:
        log(f"warning: {warning}")
