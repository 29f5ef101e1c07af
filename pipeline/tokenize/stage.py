"""Encodes prompts and responses, and counts what is too long."""

from argparse import Namespace
from dataclasses import dataclass

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pipeline import artifacts, cli, integrity, schemas, vocabulary
from pipeline.settings.data import TokensSettings


@dataclass(frozen=True)
class Kept:
    """The columns of a tokens file, and how many examples were too long for it."""

    columns: dict[str, list]
    long_prompts: int
    long_responses: int


def encode(rows: list[dict], tokenizer: PreTrainedTokenizerBase, settings: TokensSettings) -> Kept:
    """Prompt and first response of each example, the response with EOS."""
    columns: dict[str, list] = {name: [] for name in schemas.TOKENS.names}
    long_prompts = long_responses = 0
    prompts = tokenizer([row["prompt"] for row in rows])["input_ids"] if rows else []
    first = [row["responses"][0] for row in rows]
    answers = tokenizer(first, add_special_tokens=False)["input_ids"] if rows else []
    end = tokenizer.eos_token_id
    for row, prompt, answer in zip(rows, prompts, answers, strict=True):
        prompt_ids = prompt[:-1] if prompt[-1] == end else prompt  # some tokenizers end any text
        response_ids = [*answer, end]
        long_prompts += len(prompt_ids) > settings.prompt_tokens
        long_responses += len(response_ids) > settings.response_tokens
        if len(prompt_ids) > settings.prompt_tokens or len(response_ids) > settings.response_tokens:
            continue
        values = (row["example_id"], prompt_ids, response_ids)
        for name, value in zip(schemas.TOKENS.names, values, strict=True):
            columns[name].append(value)
    return Kept(columns, long_prompts, long_responses)


def encode_plain(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, settings: TokensSettings
) -> dict[str, list]:
    """Plain text in pieces of a prompt's and a response's length, after one EOS as the prompt."""
    size, end = settings.prompt_tokens + settings.response_tokens, tokenizer.eos_token_id
    columns: dict[str, list] = {name: [] for name in schemas.TOKENS.names}
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    for at, ids in enumerate(encoded):
        for first in range(0, len(ids), size):
            piece = ids[first : first + size]
            values = (f"plain-{at}-{first}", [end], piece)
            for name, value in zip(schemas.TOKENS.names, values, strict=True):
                columns[name].append(value)
    return columns


def run(options: Namespace) -> None:
    """Tokenizes all splits of a data set."""
    settings = TokensSettings.model_validate(options.job.settings)
    inputs = {"data": options.data, "tokenizer": options.tokenizer}
    cli.begin(options.out, options.job, inputs)
    integrity.check(options.tokenizer, "model/*.json")
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer / "model")

    card = {}
    with artifacts.whole(options.out) as folder:
        folder.mkdir()
        for split in schemas.SPLITS:
            rows = schemas.read(options.data / f"{split}.parquet", schemas.EXAMPLES).to_pylist()
            kept = encode(rows, tokenizer, settings)
            count = len(kept.columns["example_id"])
            if not count:
                raise ValueError(
                    f"all {len(rows)} {split} examples exceed {settings.prompt_tokens} prompt or "
                    f"{settings.response_tokens} response tokens; raise the limits in `tokens`"
                )
            schemas.write(folder / f"{split}.parquet", kept.columns, schemas.TOKENS)
            lengths = [len(ids) for ids in kept.columns["response_ids"]]
            card[split] = {
                "examples": count,
                "long_prompts": kept.long_prompts,
                "long_responses": kept.long_responses,
                "prompt_tokens": sum(len(ids) for ids in kept.columns["prompt_ids"]),
                "response_tokens": sum(lengths),
            }
            cli.progress(f"{split}: {card[split]}")
        if (options.data / "plain.parquet").exists():
            plain = schemas.read(options.data / "plain.parquet", schemas.PLAIN)
            columns = encode_plain(plain.column("text").to_pylist(), tokenizer, settings)
            schemas.write(folder / "plain.parquet", columns, schemas.TOKENS)
        artifacts.write_json(folder / "card.json", card)
        artifacts.write_manifest(
            folder,
            options.job,
            inputs,
            tokenizer_digest=vocabulary.digest(tokenizer),
        )
