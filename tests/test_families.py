"""Families of models, each read, written, cut and read again as transformers does it alone.

A fixed list of those that are used, and of each kind of arithmetic beside attention; all that
transformers has are in docs/families.md, made by `python -m benchmarks.families`.
"""

import json
from pathlib import Path

import pytest
from transformers import OPTConfig, OPTForCausalLM

from benchmarks import families
from pipeline.generation import generation_check
from pipeline.models.foreign_files import REFUSED_FAMILIES

USED = (
    "bamba",
    "cohere",
    "deepseek_v3",
    "falcon_h1",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "gpt_neox",
    "gpt_oss",
    "granite",
    "granitemoehybrid",
    "lfm2",
    "llama",
    "mamba",
    "mamba2",
    "mistral",
    "olmo2",
    "opt",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "qwen3_next",
    "smollm3",
)
TABLE = Path(__file__).parent.parent / "docs" / "families.md"


@pytest.mark.parametrize("family", USED)
def test_a_family_is_read_written_and_cut_as_by_its_own_forward(family: str) -> None:
    row = families.row_of(family)
    assert set(row.outcomes) == {"equal"}, row


@pytest.mark.parametrize("family", ["recurrent_gemma", "rwkv", "bart", "roberta", "openai-gpt"])
def test_a_family_that_goes_another_way_is_found_out(family: str) -> None:
    row = families.row_of(family)  # states out of reach, positions that can't be set, other heads
    assert not row.untried
    assert not row.usable


def test_the_table_says_of_these_families_what_the_tests_find() -> None:
    used = TABLE.read_text(encoding="utf-8").split("## Refused")[0]
    listed = {line.split("|")[1].strip() for line in used.splitlines() if line.startswith("|")}
    assert set(USED) <= listed
    refused = json.loads(REFUSED_FAMILIES.read_text(encoding="utf-8"))["families"]
    assert {"recurrent_gemma", "rwkv", "bart", "roberta", "openai-gpt"} <= refused.keys()
    assert not refused.keys() & listed


def test_opt_with_a_projection_behind_its_layers_is_read_and_written() -> None:
    sizes = {"ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "init_std": 0.3}
    config = OPTConfig(
        vocab_size=97,
        hidden_size=32,
        word_embed_proj_dim=16,
        do_layer_norm_before=False,
        max_position_embeddings=64,
        eos_token_id=2,
        pad_token_id=2,
        **sizes,
    )
    assert generation_check.differences(OPTForCausalLM(config).eval()) == []
