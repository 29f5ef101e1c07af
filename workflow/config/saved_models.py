"""What the files of an experiment's models say, as far as these are at hand before any job."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tokenizers import Tokenizer

from pipeline.models.foreign_files import TOKENIZER_CONFIG, first
from pipeline.models.other_tokenizer import MOST_PADDING
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import HubModel, LayersOf, PathModel, Shape
from workflow.config.config_file import exists

ROWS = ("vocab_size",)
TOKEN_MAP = "special_tokens_map.json"  # beside TOKENIZER_CONFIG, which has the same in newer ones
TOKEN_KEYS = ("_token", "_tokens", "_tokens_decoder")  # the ends of keys that name tokens
WITHOUT_DROPOUT = ("llama", "mistral", "qwen2", "qwen3")  # families, unless a model says otherwise
# classes of tokenizers that have no special tokens but those that are saved
WITHOUT_TOKENS = ("PreTrainedTokenizerFast", "TokenizersBackend")


def base_of(experiment: Experiment, name: str) -> object:
    """A model's source, or that of the model that it is cut from."""
    model = experiment.models[name]
    return experiment.models[model.model] if isinstance(model, LayersOf) else model


def vocabulary_source(experiment: Experiment, name: str) -> object:
    """The source that a model's vocabulary comes from."""
    source = base_of(experiment, name)
    if isinstance(source, Shape) and source.tokenizer_of is not None:
        return base_of(experiment, source.tokenizer_of)
    return source


def used_models(experiment: Experiment, are_sharing: bool = False) -> list[tuple[str, str]]:
    """The key and name of each model that is a teacher or student, or shares their vocabulary."""
    teachers = [
        (f"teachers.{role}.model", teacher.model)
        for role, teacher in experiment.local_teachers.items()
        if teacher.tokenizer is None or not are_sharing
    ]
    students = [
        (f"students.{role}.model", student.model) for role, student in experiment.students.items()
    ]
    return teachers + students


def folder_of(source: object) -> Path | None:
    """The folder of a saved model; None where it isn't at hand. The hub's may be folders, too."""
    if isinstance(source, PathModel):
        return Path(source.path)
    is_folder = isinstance(source, HubModel) and exists(source.name, Path.is_dir)
    return Path(source.name) if isinstance(source, HubModel) and is_folder else None


def tokenizer_folder(source: object) -> Path | None:
    """The folder with a model's tokenizer; None where it isn't at hand."""
    if isinstance(source, PathModel | HubModel) and source.tokenizer:
        name = source.tokenizer.name
        return Path(name) if exists(name, Path.is_dir) else None
    return folder_of(source)


def config_of(source: object) -> dict:
    """A saved model's configuration; empty where it isn't at hand."""
    folder = folder_of(source)
    return read_json(folder / "config.json") if folder else {}


def dimension(source: object, names: Iterable[str]) -> int | None:
    """A saved language model's dimension under any of some names; None where no file says it."""
    config = config_of(source)
    of_text = config.get("text_config")  # of a model that reads more than text
    value = first(config | of_text if isinstance(of_text, dict) else config, names)
    return value if isinstance(value, int) else None


def vocabulary_below(source: object, count: int) -> int | None:
    """The number of tokens that a prepared model has at most, if its files tell that it is less.

    They are those of its tokenizer that have a row of its embeddings: rows that only pad the
    matrix are left out.
    """
    rows, folder = dimension(source, ROWS), tokenizer_folder(source)
    if rows is not None and count <= rows - MOST_PADDING:
        return None  # whatever its tokenizer: to read a large one takes a second
    sizes = [rows, _most_tokens(folder) if folder else None]
    return min((size for size in sizes if size is not None and size < count), default=None)


def _most_tokens(folder: Path) -> int | None:
    """The tokens of a saved tokenizer, and any that its settings add; None if it can't be read."""
    with contextlib.suppress(Exception):  # the library's own, which is raised again by the job
        tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
        named = (
            name
            for file in (TOKENIZER_CONFIG, TOKEN_MAP)
            for name in _named(read_json(folder / file))
        )
        return len({*tokens, *named, *read_json(folder / "added_tokens.json")})
    return None


def _named(value: object, is_token: bool = False) -> Iterator[str]:
    """The names of tokens in the settings of a tokenizer."""
    if isinstance(value, str) and is_token:
        yield value
    if isinstance(value, list):
        yield from (name for entry in value for name in _named(entry, is_token))
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _named(inner, is_token or key.endswith(TOKEN_KEYS))


def lacks_eos(source: object) -> bool:
    """Whether a saved tokenizer says of no token that it ends a text, nor its class for it."""
    folder = tokenizer_folder(source)
    settings = read_json(folder / TOKENIZER_CONFIG) if folder else {}
    if folder is None or settings.get("tokenizer_class") not in WITHOUT_TOKENS:
        return False
    return not settings.get("eos_token") and not (folder / TOKEN_MAP).is_file()


def has_no_dropout(source: object) -> bool:
    """Whether all of a model's own probabilities of dropout are known to be zero."""
    config = config_of(source)
    is_known = isinstance(source, Shape) or config.get("model_type") in WITHOUT_DROPOUT
    return is_known and not any(value for key, value in config.items() if "drop" in key)


def count_labels(source: object) -> int | None:
    """What a saved classifier tells apart, which is 2 for any other model; None if not at hand."""
    config = config_of(source)
    named, number = config.get("id2label"), config.get("num_labels", 2)
    if isinstance(named, dict):
        return len(named)
    return number if config and isinstance(number, int) else None


def chat_templates(source: object) -> list[str] | None:
    """The chat templates of a saved tokenizer; None where it isn't at hand."""
    folder = tokenizer_folder(source)
    if folder is None:
        return None
    own = read_json(folder / TOKENIZER_CONFIG).get("chat_template")  # one, or several by name
    files = [*folder.glob("chat_template.jinja"), *folder.glob("additional_chat_templates/*.jinja")]
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    return [json.dumps(own), *texts] if own else texts


def read_json(path: Path) -> dict:
    """A JSON object in a file; empty where there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if exists(str(path), Path.is_file) else {}
