"""A student with fresh weights under a teacher with a tokenizer of its own, from data to scores."""

import json
from typing import Any

import pyarrow.parquet as pq
import pytest
from snaking import TINY, Copy, edited
from transformers import AutoTokenizer

from workflow.config.validate import validate
from workflow.grid.grid import Grid

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain_again")]


def test_a_shape_has_its_teachers_tokenizer_vocabulary_and_end(chain: Copy, tiny: dict[str, Any]):
    teacher = chain.folder / Grid(validate(tiny)).teacher("large").path / "model"
    config = edited(
        {key: value for key, value in tiny.items() if key != "tokenizer"},
        {
            "experiment": "own_teacher",
            "models.wide": {"source": "path", "path": str(teacher)},
            "models.narrow": TINY["models"]["narrow"] | {"tokenizer_of": "wide"},
            "teachers.large.training": None,
            "methods": {"forward_kl": None},
            "evaluation.tasks": ["heldout"],
        },
    )
    done = chain.snakemake(config, "--cores", "2", "--quiet", preloaded=True)
    assert done.returncode == 0, done.stdout + done.stderr + chain.logs()
    start = chain.folder / Grid(validate(config)).start_model("small", 1).path / "model"
    model = json.loads((start / "config.json").read_text())
    own = AutoTokenizer.from_pretrained(teacher)
    assert AutoTokenizer.from_pretrained(start).get_vocab() == own.get_vocab()
    assert (model["vocab_size"], model["eos_token_id"]) == (len(own), own.eos_token_id)
    scores = pq.read_table(chain.folder / "results/own_teacher/report/scores.parquet").to_pandas()
    assert {"forward_kl", "teacher"} <= set(scores["method"])
