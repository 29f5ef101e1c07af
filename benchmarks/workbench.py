"""What benchmarks of training share: texts of given lengths, processes, peaks of memory."""

import json
import multiprocessing
import resource
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from pipeline.texts import Text

CHARACTERS = 4  # of a natural text in a token, about


def words(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer with a word for each id: trainers ask for one."""
    model = WordLevel({f"w{at}": at for at in range(vocabulary)}, unk_token="w0")
    tokenizer = Tokenizer(model)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w1", pad_token="w2")


def natural(path: Path, count: int, vocabulary: int) -> list[Text]:
    """Texts as long as the prompts and outputs of a file in JSON lines; the ids are random."""
    rows = [json.loads(line) for line in path.read_text().splitlines()[:count]]
    lengths = [(_tokens(row["prompt"]), _tokens(row["output"])) for row in rows]
    return _texts([(at, of) for at, of in lengths if at + of <= 1024], vocabulary)


def _tokens(text: str | list[str]) -> int:
    return 1 + len(text if isinstance(text, str) else text[0]) // CHARACTERS


def synthetic(count: int, vocabulary: int) -> list[Text]:
    """Texts as long as the demo's: prompts of 10 to 80 tokens, responses of 5 to 48."""
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(10, 81, (count,), generator=draw).tolist()
    responses = torch.randint(5, 49, (count,), generator=draw).tolist()
    return _texts(list(zip(prompts, responses, strict=True)), vocabulary)


def equal(count: int, length: int, vocabulary: int) -> list[Text]:
    """Texts of one length, all of it a response."""
    return _texts([(1, length)] * count, vocabulary)


def _texts(lengths: Sequence[tuple[int, int]], vocabulary: int) -> list[Text]:
    draw = torch.Generator().manual_seed(1)
    found = []
    for at, (prompt, response) in enumerate(lengths):
        ids = torch.randint(3, vocabulary, (prompt + response,), generator=draw).tolist()
        found.append(Text(f"text-{at}", ids[:prompt], ids[prompt:]))
    return found


def apart(work: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What a function says, in a process of its own, whose peak of memory is its own, too."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        process = multiprocessing.get_context("spawn").Process(
            target=_write, args=(work, out, torch.get_num_threads(), *arguments)
        )
        process.start()
        process.join()
        if process.exitcode != 0:
            raise ValueError(f"{work.__name__}{arguments} ended with {process.exitcode}")
        return json.loads(out.read_text())


def _write(work: Callable[..., Any], out: Path, threads: int, *arguments: Any) -> None:
    warnings.simplefilter("ignore")  # the peers' imports warn
    torch.set_num_threads(threads)
    out.write_text(json.dumps(asdict(work(*arguments))))


class Peak:
    """The peak of memory from when this is made: of the GPU, else of what the process holds."""

    def __init__(self, device: torch.device):
        self.device = device
        self.held = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.held = pages * resource.getpagesize()

    def megabytes(self) -> float:
        """All that a GPU holds at the peak; of a CPU's memory what came on top."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - self.held) / 1e6


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
