"""Asks a teacher behind an endpoint for responses, and puts them into the students' tokens."""

import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.artifact import resume_key
from pipeline.data.batch import Text, read_texts
from pipeline.data.chat_encoding import ChatEncoder
from pipeline.data.examples import conversation_of
from pipeline.generation.endpoint import ANSWERS, AnswerLog, Body, Client, Completion, ask
from pipeline.models import vocabulary
from pipeline.models.language_model import load_tokenizer
from pipeline.runtime import costs
from pipeline.runtime.costs import Cost, JobCost
from pipeline.runtime.progress import ProgressLog, log
from pipeline.settings.data import AnyTemplate, ChatTemplate
from pipeline.settings.endpoint import Endpoint
from pipeline.settings.generation import ServedTextJob
from pipeline.stages import command_line
from pipeline.stages.generate import FILE, prompts
from pipeline.stages.options import AskOptions
from pipeline.stages.tokenize import template_of_data, text_pairs

DEVICE = "endpoint"

Row = Mapping[str, Any]  # of EXAMPLES


@dataclass(frozen=True)
class Question:
    """A prompt as the students read it, and its example."""

    text: Text
    row: Row


def questions(data: Path, tokens: Path, settings: ServedTextJob) -> list[Question]:
    """The prompts to answer, with their examples."""
    rows = schemas.read(data / "train.parquet", schemas.EXAMPLES).to_pylist()
    by_id = {row["example_id"]: row for row in rows}
    texts = prompts(read_texts(tokens / "train.parquet"), settings)
    ids = [text.example_id for text in texts]
    if settings.samples > 1:  # then an id ends with the number of its sample
        ids = [id.rpartition("#")[0] for id in ids]
    return [Question(text, by_id[id]) for text, id in zip(texts, ids, strict=True)]


def body(question: Question, settings: ServedTextJob) -> Body:
    """The request of a question, whose seed is its own."""
    sampling = settings.sampling
    asked: dict[str, Any] = {"prompt": question.row["prompt"]}
    if settings.api == "chat":
        conversation = conversation_of(question.row)
        tools = {"tools": list(conversation.tools)} if conversation.tools else {}
        asked = {"messages": list(conversation.messages[:-1]), **tools}
    extensions = {"top_k": sampling.top_k} if sampling.top_k else {}  # OpenAI's own has no such key
    return {
        **asked,
        "max_tokens": settings.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": zlib.crc32(f"{settings.seed} {question.text.example_id}".encode()) % 2**31,
        **extensions,
    }


def in_tokens(
    rows: Sequence[Row], answers: Sequence[Completion], tokens: Path, template: AnyTemplate
) -> list[list[int]]:
    """The answers in the students' tokenizer; those that the model ended have an end token."""
    tokenizer = load_tokenizer(tokens)
    answered = list(zip(rows, [answer.text for answer in answers], strict=True))
    if isinstance(template, ChatTemplate):
        ends = vocabulary.conventions_of_texts(tokens).ends
        encoder = ChatEncoder(tokenizer, template, ends)
        pairs = [encoder.pair(conversation_of(row).with_answer(text)) for row, text in answered]
    else:
        whole = [{**row, "responses": [text]} for row, text in answered]
        pairs = text_pairs(whole, tokenizer, template)
    return [
        list(pair.response_ids if answer.ended else pair.response_ids[:-1])
        for pair, answer in zip(pairs, answers, strict=True)
    ]


def responses(
    options: AskOptions, settings: ServedTextJob, asked: list[Question], answers: list[Completion]
) -> tuple[list[Text], int]:
    """The prompts with their responses, and how many of these are too long and cut.

    Raises: ValueError where all answers are empty; one that is empty is left out.
    """
    written = [pair for pair in zip(asked, answers, strict=True) if pair[1].text.strip()]
    if not written:
        raise ValueError(
            f"{settings.served_model} answered all {len(asked)} prompts with nothing; see that the "
            "model suits them, and that teacher_text.max_new_tokens leaves room for an answer"
        )
    questions_left, answers_left = zip(*written, strict=True)
    rows = [question.row for question in questions_left]
    ids = in_tokens(rows, answers_left, options.tokens, template_of_data(options.data))
    most = settings.max_new_tokens
    texts = [
        replace(question.text, response_ids=own[:most], ended=answer.ended and len(own) <= most)
        for question, answer, own in zip(questions_left, answers_left, ids, strict=True)
    ]
    return texts, sum(len(own) > most for own in ids)


def run(options: AskOptions) -> None:
    """Writes the responses of one model behind an endpoint."""
    settings = ServedTextJob.model_validate(options.job.settings)
    inputs = command_line.begin(options)
    client = Client(Endpoint.model_validate_json(options.endpoint), settings.served_model)
    asked = questions(options.data, options.tokens, settings)
    bodies = [body(question, settings) for question in asked]
    answered = AnswerLog(options.state / ANSWERS, resume_key(options.job, inputs))
    answers = ask(client, bodies, answered, ProgressLog("texts", len(bodies), "texts"))
    texts, cut = responses(options, settings, asked, answers)
    counts = {
        "tokens": sum(len(text.response_ids) for text in texts),
        "eos_share": sum(text.ended for text in texts) / len(texts),
        "empty": len(asked) - len(texts),
        "cut": cut,
    }
    log(f"{len(texts)} responses; {counts['empty']} empty ones left out, {cut} cut")
    with artifact.create(options.out, options.job, inputs) as (folder, facts):
        columns = {name: [getattr(text, name) for text in texts] for name in schemas.TOKENS.names}
        schemas.write(folder / FILE, columns, schemas.TOKENS)
        tokens = counts["tokens"]
        cost = Cost(answered.seconds, teacher_tokens=tokens, teacher_generated_tokens=tokens)
        unknown = replace(cost, energy_joules=None, flops=None)
        costs.write(folder, JobCost(unknown, DEVICE, parameters=0))
        facts |= counts | asdict(vocabulary.conventions_of_texts(options.tokens))
    shutil.rmtree(options.state, ignore_errors=True)
