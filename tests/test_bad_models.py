"""Models that can not be used together, or not at all, are refused in a line."""

import json
from pathlib import Path
from typing import Any

import pytest
from refusals import refusal
from snaking import TINY, edited, of_two_tokens, saved_model

from pipeline.models.foreign_files import family_faults
from pipeline.models.other_tokenizer import row_faults
from pipeline.models.reconcile import reconcile_tokenizer
from pipeline.models.reward import load_reward_model
from pipeline.stages.prepare_model import from_folder
from workflow.config.validate import validate
from workflow.grid.digests import of_file, of_folder, of_tree
from workflow.grid.grid import Grid


def test_models_of_different_vocabularies_are_refused(tiny: dict[str, Any], tmp_path: Path):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1, "dog": 2})
    other = saved_model(tmp_path / "other", {"<end>": 0, "dog": 1, "cat": 2})
    config = edited(
        tiny,
        {
            "tokenizer": None,
            "teacher_cache.k": 2,
            "models.wide": {"source": "path", "path": str(folder)},
            "models.narrow": {"source": "path", "path": str(other)},
        },
    )
    line = refusal(config)
    assert line.startswith(
        f"teachers.large.model ({folder}) and students.small.model ({other}) have "
    )
    assert validate(edited(config, {"models.narrow.path": str(folder)}))


def test_a_model_with_a_vocabulary_does_not_meet_a_trained_one(
    tiny: dict[str, Any], tmp_path: Path
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    line = refusal(tiny, ("models.wide", {"source": "path", "path": str(folder)}))
    assert line.startswith("teachers.large.model: model wide has a vocabulary of its own, and `tok")


def test_a_folder_without_a_model_is_refused(tiny: dict[str, Any], tmp_path: Path):
    line = refusal(tiny, ("models.wide", {"source": "path", "path": str(tmp_path)}))
    assert line.startswith(f"models.wide.path = {str(tmp_path)!r}: it has no config.json")
    (tmp_path / "adapter_config.json").write_text("{}")
    line = refusal(tiny, ("models.wide", {"source": "path", "path": str(tmp_path)}))
    assert "it has no config.json; adapter_config.json is of adapters alone, merge them" in line


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"is_encoder_decoder": True}, "it is an encoder-decoder; only decoders are supported"),
        ({"quantization_config": {"quant_method": "gptq"}}, "its weights are quantised"),
    ],
)
def test_a_model_that_is_not_read_here_is_refused_by_its_configuration(
    tiny: dict[str, Any], tmp_path: Path, settings: dict[str, object], reason: str
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    assert (folder / "config.json").exists()
    (folder / "config.json").write_text(json.dumps(settings))
    config = edited(
        tiny,
        {
            "tokenizer": None,
            "models.wide": {"source": "path", "path": str(folder)},
            "models.narrow": {"source": "path", "path": str(folder)},
        },
    )
    assert f"models.wide.path = {str(folder)!r}: {reason}" in refusal(config)


@pytest.mark.parametrize("inner", [False, True], ids=["text alone", "text part"])
def test_a_family_that_goes_wrong_here_is_refused_by_name(
    tiny: dict[str, Any], tmp_path: Path, inner: bool
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    assert not [*family_faults(folder)]
    config = json.loads((folder / "config.json").read_text())
    family = {"model_type": "recurrent_gemma"}
    config |= {"text_config": family} if inner else family
    (folder / "config.json").write_text(json.dumps(config))
    line = refusal(tiny, ("models.wide", {"source": "path", "path": str(folder)}))
    assert "models of the family recurrent_gemma can't be used, as tried with transformers" in line
    assert "its forward returns no cache" in line


def test_a_model_without_a_tokenizer_is_refused_until_it_has_another_models(
    tiny: dict[str, Any], tmp_path: Path
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    config = edited(
        tiny,
        {
            "tokenizer": None,
            "teacher_cache.k": 2,
            "models.wide": {"source": "path", "path": str(folder)},
            "models.narrow": {"source": "path", "path": str(folder)},
        },
    )
    words = tmp_path / "words"
    words.mkdir()
    for file in [*folder.glob("tokenizer*")]:
        file.rename(words / file.name)
    assert "it has no tokenizer; name the folder or the repository" in refusal(config)
    named = {f"models.{name}.tokenizer": str(words) for name in ("wide", "narrow")}
    grid = Grid(validate(edited(config, named)))
    before = grid.model("wide", 0)
    (words / "tokenizer_config.json").write_text("{}")
    of_tree.cache_clear()
    of_file.cache_clear()
    assert Grid(validate(edited(config, named))).model("wide", 0) != before


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "config.json"])
def test_a_folder_whose_tokenizer_changes_is_another_model(
    tiny: dict[str, Any], tmp_path: Path, file: str
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    named = {"source": "path", "path": str(folder)}
    config = of_two_tokens(tiny, named)
    before = Grid(validate(config)).model("wide", 0)
    (folder / "README.md").write_text("About it.")
    of_folder.cache_clear()
    of_file.cache_clear()
    assert Grid(validate(config)).model("wide", 0) == before
    (folder / file).write_text((folder / file).read_text() + "\n")
    of_folder.cache_clear()
    of_file.cache_clear()
    assert Grid(validate(config)).model("wide", 0) != before


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        (5, "has 2 rows, and this tokenizer 5 tokens, 3 too many"),
        (None, "it has no tokenizer"),
    ],
)
def test_a_tokenizer_from_elsewhere_that_does_not_fit_is_refused_with_its_numbers(
    tiny: dict[str, Any], tmp_path: Path, tokens: int | None, reason: str
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    words = tmp_path / "words"
    words.mkdir()
    if tokens:
        saved_model(words, {"<end>": 0, **{f"w{id}": id for id in range(1, tokens)}})
    source = {"source": "path", "path": str(folder), "tokenizer": str(words)}
    config = edited(tiny, {"tokenizer": None, "models.wide": source, "models.narrow": source})
    line = refusal(config)
    assert f"models.wide.tokenizer = {str(words)!r}: " in line
    assert reason in line


@pytest.mark.parametrize("source", ["path", "hub"])
def test_more_cached_tokens_than_a_folders_tokenizer_has_are_refused(
    tiny: dict[str, Any], tmp_path: Path, source: str
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1, "dog": 2})
    named = {"source": source, "path" if source == "path" else "name": str(folder)}
    shape = TINY["models"]["narrow"] | {"tokenizer_of": "wide"}
    config = edited(tiny, {"tokenizer": None, "models.wide": named, "models.narrow": shape})
    assert refusal(config) == "teacher_cache.k = 16: the vocabulary of model wide is only 3"
    of_shape = {"teachers.large.model": "narrow", "teacher_cache.k": 4}
    assert "the vocabulary of model narrow is only 3" in refusal(edited(config, of_shape))
    assert validate(edited(config, {"teacher_cache.k": 3}))


def test_a_language_model_within_a_larger_one_is_asked_for_its_dimensions(
    tiny: dict[str, Any], tmp_path: Path
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1, "dog": 2})
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text())
    inner = {name: config.pop(name) for name in ("vocab_size", "num_hidden_layers")}
    config_file.write_text(json.dumps(config | {"text_config": inner}))
    cut = {"source": "layers_of", "model": "wide", "layers": 3}
    named = {"source": "path", "path": str(folder)}
    config = edited(tiny, {"tokenizer": None, "models.wide": named, "models.narrow": cut})
    assert refusal(config) == "models.narrow.layers = 3: wide has only 2 layers"


def test_a_folder_that_is_named_as_a_model_of_the_hub_is_refused_like_any(
    tiny: dict[str, Any], tmp_path: Path
):
    line = refusal(tiny, ("models.wide", {"source": "hub", "name": str(tmp_path)}))
    assert line.startswith(f"models.wide.name = {str(tmp_path)!r}: it has no config.json")


def test_a_tokenizer_without_a_token_that_ends_a_text_is_refused(
    tiny: dict[str, Any], tmp_path: Path
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    named = {"source": "path", "path": str(folder)}
    config = of_two_tokens(tiny, named)
    assert validate(config)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert refusal(config).splitlines() == [
        f"models.{name}: its tokenizer has no EOS token, so that a student could not learn to "
        "stop; name one as eos_token in tokenizer_config.json"
        for name in ("wide", "narrow")
    ]
    with pytest.raises(ValueError, match="the tokenizer has no EOS token: a student could not"):
        reconcile_tokenizer(*from_folder(folder))


def test_a_judge_whose_model_gives_no_reward_is_refused(tiny: dict[str, Any], tmp_path: Path):
    folder = saved_model(tmp_path / "judge", {"<end>": 0, "cat": 1})
    judges = {"strict": {"kind": "reward", "model": "judge"}}
    config = edited(tiny, {"models.judge": {"source": "path", "path": str(folder)}})
    config = edited(config, {"evaluation.judges": judges})
    assert refusal(config) == (
        "evaluation.judges.strict.model = 'judge': it has 2 labels; a reward model has one"
    )
    with pytest.raises(ValueError, match="has 2 labels; a reward model has one"):
        load_reward_model(folder)
    config_file = folder / "config.json"
    content = json.loads(config_file.read_text())
    config_file.write_text(json.dumps(content | {"id2label": {"0": "good"}}))
    assert validate(config)


POINTER = "version https://git-lfs.github.com/spec/v1\n"  # of a file that was not fetched


@pytest.mark.parametrize(
    ("name", "text", "message", "of_job"),
    [
        ("tokenizer.json", POINTER, "holds no tokenizer (", "its tokenizer can't be read"),
        ("tokenizer.json", "[]", "holds no tokenizer (", "its tokenizer can't be read"),
        ("tokenizer.json", '{"model": {}}', "holds no tokenizer (", "its tokenizer can't be read"),
        ("generation_config.json", POINTER, "is invalid JSON (", "is invalid JSON"),
    ],
)
def test_a_file_that_was_not_fetched_whole_is_refused_before_any_job(
    tiny: dict[str, Any], tmp_path: Path, name: str, text: str, message: str, of_job: str
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    (folder / name).write_text(text)
    source = {"source": "path", "path": str(folder)}
    changes = {"tokenizer": None, "models.wide": source, "models.narrow": source}
    assert f"{name} {message}" in refusal(edited(tiny, changes))
    with pytest.raises(ValueError, match=of_job):
        from_folder(folder)


def test_far_more_rows_than_tokens_are_no_padding():
    assert not [*row_faults(51_200, 50_295)]  # Phi-2
    (fault,) = row_faults(151_936, 50_257)  # Qwen2.5 with GPT-2's
    assert "151936 rows, and this tokenizer 50257 tokens: 101679 rows would have none" in fault


def own_teacher(tiny: dict[str, Any], folder: Path, **student: object) -> dict[str, Any]:
    """The tiny experiment under a teacher in a folder, without a tokenizer of its own."""
    model = saved_model(folder / "teacher", {"<end>": 0, "cat": 1, "dog": 2})
    changes = {
        "models.wide": {"source": "path", "path": str(model)},
        "models.narrow": TINY["models"]["narrow"] | student,
        "teacher_cache": {"k": 2},
    }
    return edited({key: value for key, value in tiny.items() if key != "tokenizer"}, changes)


def test_a_shape_under_a_teacher_with_a_tokenizer_may_have_that_one(
    tiny: dict[str, Any], tmp_path: Path
):
    line = refusal(own_teacher(tiny, tmp_path))
    assert line.startswith("models.narrow: a shape has no tokenizer: `tokenizer_of: wide` gives it")
    config = own_teacher(tiny, tmp_path, tokenizer_of="wide")
    grid = Grid(validate(config))
    assert grid.start_model("small", 1).inputs == (("tokenizer", grid.model("wide", 0)),)
    both = refusal(config, ("tokenizer", {"vocabulary_size": 300}))
    assert "models.narrow.tokenizer_of = 'wide': `tokenizer` trains one for all shapes" in both
    assert "allowed: wide" in refusal(config, ("models.narrow.tokenizer_of", "narrow"))
