"""What benchmarks of training share: models of given shapes, texts of given lengths, processes."""

import json
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from pipeline.data.batch import Text
from pipeline.models.language_model import parameter_count
from workflow.launch.ranks import RankGroup, rank_group, run_ranks
from workflow.resources.model_sizes import Size

RATE = 1e-4  # of learning
CHARACTERS = 4  # of a natural text in a token, about


@dataclass(frozen=True)
class Shape:
    """A Llama's sizes."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int


SHAPES = {
    "narrow": Shape(1, 48, 2, 2, 128, 2048),  # the demo's
    "wide": Shape(1, 80, 2, 2, 208, 2048),
    "base": Shape(1, 128, 4, 4, 336, 2048),
    "large": Shape(2, 160, 5, 5, 432, 2048),
    "2m": Shape(4, 192, 4, 2, 512, 4096),
    "24m": Shape(8, 480, 8, 4, 1280, 8192),
    "135m": Shape(30, 576, 9, 3, 1536, 49_152),
    "360m": Shape(32, 960, 15, 5, 2560, 49_152),
}


def model(name: str, seed: int, device: torch.device) -> PreTrainedModel:
    """Fresh weights of a shape, in float32."""
    shape = SHAPES[name]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
    )
    return LlamaForCausalLM(config).to(device)


def size_of(model: PreTrainedModel) -> Size:
    """What estimates of memory and time are made from."""
    config = model.config
    return Size(
        parameter_count(model),
        config.num_hidden_layers,
        config.hidden_size,
        config.vocab_size,
        config.model_type,
        config.tie_word_embeddings,
    )


def writer(name: str, seed: int, device: torch.device) -> PreTrainedModel:
    """A model that never ends a text by itself, here and in `generate`."""
    made = model(name, seed, device).eval()
    made.config.eos_token_id = -1
    made.generation_config.eos_token_id = None
    made.generation_config.pad_token_id = 0
    return made


def words(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer with a word for each id."""
    model = WordLevel({f"w{number}": number for number in range(vocabulary)}, unk_token="w0")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w1", pad_token="w2")


def trl_settings(folder: str, batch: int, device: torch.device) -> dict[str, Any]:
    """What benchmarks set of TRL's trainers: no checkpoints of either kind, and no logging."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch,
        "learning_rate": RATE,
        "gradient_checkpointing": False,
        "bf16": device.type == "cuda",
        "use_cpu": device.type == "cpu",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def natural(path: Path, count: int, vocabulary: int) -> list[Text]:
    """Texts as long as the prompts and outputs of a file in JSON lines; the ids are random."""
    rows = [json.loads(line) for line in path.read_text().splitlines()[:count]]
    lengths = [(_tokens(row["prompt"]), _tokens(row["output"])) for row in rows]
    return _texts(
        [(prompt, response) for prompt, response in lengths if prompt + response <= 1024],
        vocabulary,
    )


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


def prompts(count: int, length: int, vocabulary: int) -> list[Text]:
    """Prompts of one length, to be answered: no batch of them has padding."""
    return _texts([(length, 1)] * count, vocabulary)


def _texts(lengths: Sequence[tuple[int, int]], vocabulary: int) -> list[Text]:
    draw = torch.Generator().manual_seed(1)
    texts = []
    for number, (prompt, response) in enumerate(lengths):
        ids = torch.randint(3, vocabulary, (prompt + response,), generator=draw).tolist()
        texts.append(Text(f"text-{number}", ids[:prompt], ids[prompt:]))
    return texts


def from_ranks(module: str, ranks: int, *flags: str) -> Any:
    """What the first of several ranks writes as JSON: processes that run a module of benchmarks.

    Each is given `--rank-out` with a file for it.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rank.json"
        command = [sys.executable, "-m", module, "--rank-out", str(out), *flags]
        group = rank_group(ranks, {}) or RankGroup(1)
        if status := run_ranks(command, list(group.environments(None))):
            sys.exit(status)
        return json.loads(out.read_text())


def write_as_first(out: Path, value: object) -> None:
    """Writes a value as JSON, if this process is the first of the ranks."""
    if os.environ.get("RANK", "0") == "0":
        out.write_text(json.dumps(value))


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
