"""Settings of the data: source of the examples, prompt template, splits."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    TypeAdapter,
    model_validator,
)

from pipeline.methods.ranges import Count, Line, Name, NonNegativeCount, Positive, Text, Word
from pipeline.settings.base import Settings

DOCSTRING_CORPUS = Path(__file__).parents[1] / "data" / "docstrings.parquet"

ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
ALPACA_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
TAKEN = {"messages", "tools", "add_generation_prompt"}  # by the conversation itself


class Template(Settings):
    """The prompt around instruction and input; Alpaca's by default."""

    with_input: str = ALPACA_WITH_INPUT
    without_input: str = ALPACA_WITHOUT_INPUT

    @model_validator(mode="after")
    def _has_places(self) -> "Template":
        if "{input}" not in self.with_input:
            raise ValueError("with_input needs the place {input}")
        if "{instruction}" not in self.without_input:
            raise ValueError("without_input needs the place {instruction}")
        return self


class ChatTemplate(Settings):
    """A chat template: the tokenizer's own, or a file's."""

    filled_in = ("text",)

    chat: Line = "tokenizer"  # whose chat template: the tokenizer's own, or a Jinja file's
    kwargs: dict[Name, JsonValue] = {}  # values that the template reads, as enable_thinking
    answers: Literal["all", "last"] = "all"  # turns of the assistant that are trained on
    generation_mask: bool = False  # refuse a template that doesn't mark what the model generates
    text: str = ""  # of the file, filled in by workflow.grid.digests

    @model_validator(mode="after")
    def _is_rendered_here(self) -> "ChatTemplate":
        if taken := sorted(self.kwargs.keys() & TAKEN):
            raise ValueError(f"kwargs: {', '.join(taken)} can't be set; allowed: all other names")
        return self


def _as_chat(value: object) -> object:
    return {"chat": "tokenizer"} if value == "chat" else value


def _kind_of_template(value: object) -> str:
    """The kind of template that a block is about, however faulty it is."""
    is_chat = "chat" in value if isinstance(value, dict) else isinstance(value, ChatTemplate)
    return "chat" if is_chat else "text"


AnyTemplate = Annotated[
    Annotated[Template, Tag("text")] | Annotated[ChatTemplate, Tag("chat")],
    Discriminator(_kind_of_template),
    BeforeValidator(_as_chat),
]


def template_of(settings: object) -> AnyTemplate:
    """The template that the settings of a job hold."""
    return TypeAdapter(AnyTemplate).validate_python(settings)


class Columns(Settings):
    """The columns of a table that hold instruction, input and response, or a conversation."""

    later_keys = ("messages",)

    instruction: Line = "instruction"
    input: Line | None = "input"
    response: Line = "output"  # text, or a list of references; or where it is: choices[0].text
    source: Line | None = None  # what subsets are counted by; the source's name if null
    messages: Line | None = None  # a conversation; null: one under any of its usual names


HeldOutShare = Annotated[float, Field(gt=0, lt=0.5)]
Characters = Annotated[int, Field(ge=1, le=2000)]
FIRST_PARAGRAPH = 300  # characters of the longest one in the corpus


class Docstrings(Settings):
    """Signature and documentation of the functions of Python packages, in fixed versions."""

    later_keys = ("paragraphs",)
    filled_in = ("corpus",)

    source: Literal["docstrings"]
    packages: Annotated[list[Word], Field(min_length=1)]
    instruction: Text = "Describe what this Python function does."
    response_characters: tuple[Characters, Characters] = (15, 120)  # the shortest, the longest kept
    paragraphs: Literal["first", "all"] = "first"  # of a docstring, as the response; all: its prose
    test_share: HeldOutShare = 0.1  # of the modules
    validation_share: HeldOutShare = 0.05
    corpus: str = ""  # its digest, filled in by workflow.grid.digests

    @model_validator(mode="after")
    def _is_range(self) -> "Docstrings":
        shortest, longest = self.response_characters
        if shortest > longest:
            raise ValueError(f"response_characters: {shortest} is more than {longest}")
        if self.paragraphs == "first" and longest > FIRST_PARAGRAPH:
            raise ValueError(
                f"response_characters: {longest}: a first paragraph has at most {FIRST_PARAGRAPH}; "
                "allowed: less, or paragraphs = 'all'"
            )
        return self


HeldOut = Line | Count | HeldOutShare  # or what to hold out from train
# which examples of train are held out: drawn by the seed, so that no question is in two splits; or
# the first of the file, for validation, and those after them, for test, as in papers
HeldOutBy = Literal["draw", "order"]
PLAIN_TEXTS = 20_000


class Files(Settings):
    """Local tables; validation and test may be held out from train."""

    renamed_keys = {"plain": "plain_text"}
    later_keys = ("held_out_by", "plain_text_documents")
    filled_in = ("digests",)

    source: Literal["files"]
    train: Line  # a file, a folder of files, or a glob such as data/*.jsonl.gz
    validation: HeldOut = 0.05  # a file, or a number or share of train's examples to hold out
    test: HeldOut = 0.1  # as for validation
    columns: Columns = Columns()
    held_out_by: HeldOutBy = "draw"
    empty_responses: Literal["refuse", "drop"] = "refuse"  # dropped ones are counted in the card
    plain_text: Line | None = None  # .txt, or .jsonl with a column text; for language modelling
    plain_text_documents: Count = PLAIN_TEXTS  # at most, drawn by the seed
    digests: dict[str, str] = Field(
        default_factory=dict
    )  # of the files, filled in by workflow.grid.grid

    @model_validator(mode="after")
    def _is_used(self) -> "Files":
        return _used(self)


class Hub(Settings):
    """A data set of the Hugging Face hub; validation and test may be held out from train."""

    renamed_keys = {"plain": "plain_text", "plain_config": "plain_text_config"}
    later_keys = ("held_out_by", "plain_text_revision", "plain_text_documents", "digests")
    filled_in = ("digests",)

    source: Literal["hub"]
    name: Line
    config: Line | None = None
    revision: Line = "main"
    train: Line = "train"  # the split's name, or a file of the data set, such as raw.jsonl
    validation: HeldOut = 500  # as for train, or a number or share of its examples to hold out
    test: HeldOut = 500  # as for validation
    columns: Columns = Columns()
    held_out_by: HeldOutBy = "draw"
    empty_responses: Literal["refuse", "drop"] = "refuse"  # dropped ones are counted in the card
    plain_text: Line | None = None  # a data set with a column text; for language modelling
    plain_text_config: Line | None = None
    plain_text_revision: Line = "main"
    plain_text_documents: Count = PLAIN_TEXTS  # the first of its split train
    digests: dict[str, str] = {}  # of sets that are folders, filled in by workflow.grid.digests

    @model_validator(mode="after")
    def _is_used(self) -> "Hub":
        return _used(self)


Table = TypeVar("Table", Files, Hub)


def _used(source: Table) -> Table:
    """The source. Raises ValueError for keys about what is not there."""
    about_plain_text = {
        key
        for key in source.model_fields_set
        if key.startswith("plain_text_") and getattr(source, key) is not None
    }
    if about_plain_text and source.plain_text is None:
        raise ValueError(f"{', '.join(sorted(about_plain_text))}: there is no plain_text")
    has_files = isinstance(source.validation, str) and isinstance(source.test, str)
    if source.held_out_by == "order" and has_files:
        raise ValueError("held_out_by = 'order': nothing is held out; allowed: 'draw'")
    return source


Source = Docstrings | Files | Hub


class Mixture(Settings):
    """Several sources, each with its held-out splits; training examples are mixed by weight."""

    source: Literal["mixture"]
    sources: dict[Name, Annotated[Source, Field(discriminator="source")]]
    weights: dict[Name, Positive] = {}  # of the training examples, relative; without: all examples

    @model_validator(mode="after")
    def _is_mixed(self) -> "Mixture":
        if len(self.sources) < 2:
            raise ValueError(
                f"sources: {len(self.sources)} is no mixture; allowed: 2 or more, or the keys of "
                "the only source in the place of these"
            )
        without = [name for name in self.sources if self.weights and name not in self.weights]
        unknown = [name for name in self.weights if name not in self.sources]
        if without or unknown:
            fault = f"no source {unknown[0]}" if unknown else f"none for source {without[0]}"
            raise ValueError(
                f"weights: {fault}; allowed: one for each of {', '.join(self.sources)}"
            )
        return self


def named_sources(examples: Source | Mixture) -> dict[str, Source]:
    """The sources of the examples, by the path of the key that each stands under."""
    if isinstance(examples, Mixture):
        return {f"data.examples.sources.{name}": each for name, each in examples.sources.items()}
    return {"data.examples": examples}


class DataSettings(Settings):
    """All that makes the examples of an experiment."""

    examples: Annotated[Docstrings | Files | Hub | Mixture, Field(discriminator="source")]
    template: AnyTemplate = Template()  # of text with places, or `chat`
    train_limit: Count | None = None  # training examples kept, drawn by the seed
    test_limit: Count | None = None  # test examples kept, drawn by the seed
    seed: NonNegativeCount = 0


class TokensSettings(Settings):
    """The longest prompt and response, and what becomes of a longer one, which is counted."""

    later_keys = ("total_tokens", "too_long", "bos")

    prompt_tokens: Count = 256
    response_tokens: Count = 256  # EOS included
    total_tokens: Count | None = None  # of prompt and response; null: both may have their longest
    too_long: Literal["leave_out", "cut"] = "leave_out"  # cut: at the end, which loses its EOS
    bos: bool = True  # whether texts begin as the tokenizer begins any text; false: with nothing

    @model_validator(mode="after")
    def _total_limits(self) -> "TokensSettings":
        longest = self.prompt_tokens + self.response_tokens
        if self.total_tokens is not None and not self.prompt_tokens < self.total_tokens < longest:
            raise ValueError(
                f"total_tokens = {self.total_tokens}: allowed: more than prompt_tokens "
                f"({self.prompt_tokens}) and less than both together ({longest})"
            )
        return self

    @property
    def longest(self) -> int:
        """The tokens of the longest text, prompt and response together."""
        return self.total_tokens or self.prompt_tokens + self.response_tokens
