"""Texts longer than a model's positions are refused: by the configuration, or by the job."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import refusal
from snaking import edited, saved_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
)

from pipeline.data.batch import Text, collate
from pipeline.generation import generate, sampler
from pipeline.models import position_limits, positions
from pipeline.models.language_model import response_logits
from pipeline.settings.generation import Sampling
from workflow.config.validate import validate

SHORT = 32
GPT2 = GPT2Config(
    vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=SHORT, bos_token_id=0, eos_token_id=0
)
OPT = OPTConfig(
    vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16,
    max_position_embeddings=SHORT, word_embed_proj_dim=16, eos_token_id=0, bos_token_id=0,
    pad_token_id=0,
)  # fmt: skip
ORIGINAL = "original_max_position_embeddings"
LONG = {"rope_type": "longrope"}
PHI_3 = {  # as its config.json says
    "max_position_embeddings": 131072,
    ORIGINAL: 4096,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]},
}


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({"n_positions": 1024}, 1024),
        ({"max_position_embeddings": 2048, "model_type": "opt"}, 2048),
        ({"text_config": {"max_position_embeddings": 8192}, "model_type": "gemma3"}, 8192),
        ({"model_type": "mamba"}, None),
        (PHI_3, 4096),
        ({"max_position_embeddings": 128, "rope_parameters": LONG | {ORIGINAL: 32}}, 32),
        ({"max_position_embeddings": 128, "rope_parameters": {"full_attention": LONG}}, 128),
        ({"max_position_embeddings": 128, "rope_parameters": {"rope_type": "yarn"}}, 128),
    ],
)
def test_the_limit_is_where_a_family_has_it(config: dict[str, Any], most: int | None):
    assert position_limits.max_positions(config) == most


def test_a_shape_has_the_positions_that_transformers_gives_a_llama():
    assert LlamaConfig().max_position_embeddings == position_limits.SHAPE_POSITIONS
    assert positions.of_config(GPT2) == SHORT


@pytest.mark.parametrize("config", [GPT2, OPT], ids=["gpt2", "opt"])
def test_a_table_is_not_read_beyond_its_end_where_generate_fails_too(config: Any):
    torch.manual_seed(0)
    model = (GPT2LMHeadModel if config is GPT2 else OPTForCausalLM)(config).eval()
    model.generation_config.eos_token_id = None  # the text goes to its full length
    model.config.eos_token_id = None
    prompt, choose = list(range(1, 21)), sampler(Sampling(temperature=0))
    asked = torch.tensor([prompt])

    def ours(new: int) -> list[int]:
        return list(
            generate([Text("a", prompt, [])], [model], choose, new, 0, "teacher")[0].response_ids
        )

    def theirs(new: int) -> list[int]:
        mask = torch.ones_like(asked)
        written = model.generate(
            asked, attention_mask=mask, max_new_tokens=new, do_sample=False, pad_token_id=0
        )
        return written[0, len(prompt) :].tolist()

    assert ours(SHORT - len(prompt)) == theirs(SHORT - len(prompt))
    with pytest.raises(IndexError):
        theirs(40)
    with pytest.raises(ValueError, match="has 32 positions, and its texts have up to 60 tokens"):
        ours(40)


def test_a_model_ends_where_a_longer_text_would_change_the_rotations_of_shorter_ones():
    torch.manual_seed(0)
    factors = {"short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0]}
    config = Phi3Config(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=4 * SHORT, pad_token_id=0,
        original_max_position_embeddings=SHORT, initializer_range=0.3,
        rope_parameters={"rope_theta": 10_000.0, ORIGINAL: SHORT, **LONG, **factors},
    )  # fmt: skip
    model = Phi3ForCausalLM(config).eval()
    assert positions.of_config(model.config) == SHORT
    short = Text("short", [*range(1, 9)], [*range(9, 13)])

    def logits(beside: int) -> torch.Tensor:
        """Those of the short text, with another text of so many tokens in its batch."""
        other = Text("other", [1] * (beside - 1), [2, 3])
        return response_logits(model, collate([short, other], torch.device("cpu")))[:4]

    assert torch.allclose(logits(beside=10), logits(beside=SHORT), atol=1e-5)
    assert not torch.allclose(logits(beside=10), logits(beside=SHORT + 1), atol=0.1)
    beyond = Text("beyond", [1] * SHORT, [2])
    with pytest.raises(ValueError, match="has 32 positions, and its texts have up to 33 tokens"):
        positions.check("phi3", model.config, [short, beyond], 0, "tokens.prompt_tokens")


@pytest.fixture
def short_student(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """An experiment whose student has 96 positions: what `tokens` asks for, and no more."""
    wide = saved_model(tmp_path / "wide", {"<end>": 0, "cat": 1})
    short = saved_model(tmp_path / "short", {"<end>": 0, "cat": 1})
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 96}))
    return edited(
        tiny,
        {
            "tokenizer": None,
            "models.wide": {"source": "path", "path": str(wide)},
            "models.narrow": {"source": "path", "path": str(short)},
            "teacher_cache.k": 2,
        },
    )


def test_what_fits_is_no_fault(short_student: dict[str, Any]):
    assert validate(short_student)


@pytest.mark.parametrize(
    ("changes", "demand"),
    [
        (
            {"tokens.response_tokens": 33},
            "tokens.prompt_tokens (64) + tokens.response_tokens (33) ask for 97",
        ),
        (
            {"rollout_tokens": 40, "methods": {"gkd": None}},
            "tokens.prompt_tokens (64) + rollout_tokens (40) ask for 104",
        ),
        (
            {"teacher_text.max_new_tokens": 50, "methods": {"seqkd": None}},
            "tokens.prompt_tokens (64) + teacher_text.max_new_tokens (50) ask for 114",
        ),
        (
            {"evaluation.max_new_tokens": 60},
            "tokens.prompt_tokens (64) + evaluation.max_new_tokens (60) ask for 124",
        ),
        (
            {
                "evaluation.tasks": ["heldout", "dolly"],
                "evaluation.prompt_tokens": 90,
                "evaluation.max_new_tokens": 16,
            },
            "evaluation.prompt_tokens (90) + evaluation.max_new_tokens (16) ask for 106",
        ),
        (
            {"evaluation.tasks": ["heldout", "dolly"], "evaluation.max_new_tokens": 97},
            "evaluation.max_new_tokens (97) ask for 97",
        ),
    ],
    ids=["tokens", "student text", "teacher text", "responses", "instruction task", "any prompt"],
)
def test_a_model_too_short_is_named_with_the_keys_that_ask_for_more(
    short_student: dict[str, Any], changes: dict[str, Any], demand: str
):
    line = refusal(short_student, *changes.items())
    assert line == f"models.narrow: it has 96 positions, and {demand}; lower them"


@pytest.mark.parametrize(
    "changes",
    [
        {"rollout_tokens": 40},
        {"teacher_text.max_new_tokens": 50},
        {"evaluation.tasks": ["heldout", "arc_easy"], "evaluation.prompt_tokens": 90},
    ],
)
def test_what_no_method_of_the_experiment_writes_needs_no_room(
    short_student: dict[str, Any], changes: dict[str, Any]
):
    assert validate(edited(short_student, changes))


def test_teachers_that_end_texts_otherwise_are_refused_where_folders_tell(
    tiny: dict[str, Any], tmp_path: Path
):
    first, other = (
        saved_model(tmp_path / name, {"<end>": 0, "cat": 1}) for name in ("one", "other")
    )
    ends = json.loads((other / "generation_config.json").read_text()) | {"eos_token_id": [0, 1]}
    for folder, settings in ((first, {"eos_token_id": 0}), (other, ends)):
        for file in ("config.json", "generation_config.json"):
            content = json.loads((folder / file).read_text()) | settings
            (folder / file).write_text(json.dumps(content))
    models = {name: {"source": "path", "path": str(tmp_path / name)} for name in ("one", "other")}
    teachers = {name: {"model": name, "training": None} for name in models}
    changes = {"tokenizer": None, "models": models, "students": {"small": {"model": "one"}}}
    config = edited(tiny, {**changes, "teachers": teachers, "teacher_cache.k": 2})
    assert refusal(config).startswith(
        "teachers.other: it ends texts with token 0 and 1, and the first teacher, one, with 0, as"
    )
    assert validate(edited(config, {"teachers": dict(reversed(teachers.items()))})) is not None
    assert validate(edited(config, {"teachers.other.training": {}}))
