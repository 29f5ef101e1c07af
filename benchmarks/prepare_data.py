"""From a file of examples to token ids: speed, and the memory that grows with their number.

python -m benchmarks.prepare_data [--rows 5000 20000] [--tokens 500] [--out prepare_data.json]

For each size a file of JSON lines is made of words from the corpus of docstrings, with prompts of a
fifth of `--tokens` and responses of the rest. The stages `prepare_data` and `tokenize` and, as
`read`, training's draws, each text once, run in processes of their own. A peak is all that such a
process held, but for pages of files, which the system drops when it needs them. A million examples:
`--rows 250000 1000000`, which needs 10 GB of disk.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks import results
from benchmarks.measuring import watched_memory
from benchmarks.workbench import apart
from pipeline.artifacts.artifact import Job
from pipeline.artifacts.schemas import SPLITS
from pipeline.data.batch import read_texts
from pipeline.settings.data import DOCSTRING_CORPUS, DataSettings, TokensSettings
from pipeline.settings.models import Tokenizer
from pipeline.stages import prepare_data, tokenize, train_tokenizer
from pipeline.stages.options import PrepareDataOptions, TokenizeOptions
from pipeline.training.schedule import draw_batch

TOKENS_PER_WORD = 1.9  # of the corpus's words, by a tokenizer of the size below
VOCABULARY = 8192
BATCH_SIZE = 64


@dataclass(frozen=True)
class Row:
    """A step of the preparation, and what it took."""

    step: str
    examples: int
    tokens: int
    seconds: float
    peak_mb: float


def corpus_texts() -> list[str]:
    """The prose of the corpus."""
    texts = pq.read_table(DOCSTRING_CORPUS, columns=["text"])["text"].to_pylist()
    return [text for text in texts if text]


def write_examples(file: Path, count: int, tokens: int) -> None:
    """JSON lines of distinct examples of about so many tokens."""
    draw, words = random.Random(0), " ".join(corpus_texts()).split()
    whole = round(tokens / TOKENS_PER_WORD)
    with file.open("w", encoding="utf-8") as lines:
        for number in range(count):
            first = draw.randrange(len(words) - whole)
            text = words[first : first + whole]
            asked, answer = " ".join(text[: whole // 5]), " ".join(text[whole // 5 :])
            row = {"instruction": f"{number}. {asked}", "input": "", "output": answer}
            lines.write(json.dumps(row) + "\n")


def prepare(folder: Path, count: int) -> Row:
    """The stage of the data."""
    examples = {"source": "files", "train": str(folder / "train.jsonl")}
    settings = DataSettings.model_validate({"examples": examples}).model_dump(mode="json")
    options = PrepareDataOptions(Job("data", "", settings), out=folder / "data")
    return _timed("prepare_data", count, lambda: prepare_data.run(options))


def encode(folder: Path, count: int, tokens: int) -> Row:
    """The stage of the tokens."""
    settings = TokensSettings(prompt_tokens=tokens, response_tokens=2 * tokens)
    options = TokenizeOptions(
        Job("tokens", "", settings.model_dump(mode="json")),
        data=folder / "data",
        tokenizer=folder / "words",
        out=folder / "tokens",
    )
    return _timed("tokenize", count, lambda: tokenize.run(options))


def read(folder: Path, count: int) -> Row:
    """All splits as training and evaluation draw from them, each text once."""

    def draw() -> None:
        for split in SPLITS:
            texts = read_texts(folder / f"tokens/{split}.parquet")
            for step in range(len(texts) // BATCH_SIZE):
                draw_batch(texts, step, BATCH_SIZE, seed=0)

    return _timed("read", count, draw)


def _timed(step: str, count: int, work: Callable[[], None]) -> Row:
    with watched_memory() as megabytes:
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    return Row(step, count, 0, seconds, max(megabytes))


def measured(sizes: Sequence[int], tokens: int) -> Iterator[Row]:
    """The rows of each size, one after the other."""
    words = train_tokenizer.train(corpus_texts(), Tokenizer(vocabulary_size=VOCABULARY))
    for count in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            words.save_pretrained(folder / "words" / "model")
            write_examples(folder / "train.jsonl", count, tokens)
            rows = [
                apart(prepare, folder, count),
                apart(encode, folder, count, tokens),
                apart(read, folder, count),
            ]
            card = json.loads((folder / "tokens/card.json").read_text())
            splits = [card[split] for split in SPLITS]
            ids = sum(split["prompt_tokens"] + split["response_tokens"] for split in splits)
            for row in rows:
                row["tokens"] = ids
                yield Row(**row)


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = results.parser(__doc__, "prepare_data.json")
    parser.add_argument("--rows", type=int, nargs="+", default=[5000, 20_000])
    parser.add_argument("--tokens", type=int, default=500)
    options = parser.parse_args()
    rows = []
    print(f"{'step':<14}{'examples':>10}{'tokens/ex.':>12}{'ex./s':>9}{'tok/s':>11}{'peak MB':>9}")
    for row in measured(options.rows, options.tokens):
        speed = f"{row.examples / row.seconds:>9.0f}{row.tokens / row.seconds:>11.0f}"
        length = f"{row.tokens / row.examples:>12.0f}"
        print(f"{row.step:<14}{row.examples:>10}{length}{speed}{row.peak_mb:>9.0f}")
        rows.append(asdict(row))
    results.write(options.out, rows)


if __name__ == "__main__":
    main()
