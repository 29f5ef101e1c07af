"""What a teacher writes: texts that end as the experiment's do, or a refusal that names it."""

from pathlib import Path

import pytest
import torch
from players import END, llama, texts
from shelf import put_model, put_texts
from transformers import LlamaForCausalLM

from pipeline.artifacts import artifact
from pipeline.artifacts.artifact import Job
from pipeline.data.batch import read_texts
from pipeline.models import vocabulary
from pipeline.settings.generation import TextJob
from pipeline.stages import generate as stage
from pipeline.stages.options import GenerateOptions


def written(folder: Path, teacher: LlamaForCausalLM) -> Path:
    """The artifact of a teacher's texts."""
    options = GenerateOptions(
        job=Job("texts", "x", TextJob(max_new_tokens=6).model_dump()),
        teacher=put_model(folder / "teacher", teacher),
        tokens=put_texts(folder / "tokens", texts(8)),
        state=folder / "state",
        out=folder / "texts",
        threads=1,
    )
    stage.run(options)
    return options.out


def test_texts_say_what_they_begin_and_end_with(tmp_path: Path):
    made = written(tmp_path, llama(1))
    assert vocabulary.conventions_of_texts(made) == vocabulary.conventions_of_texts(
        tmp_path / "tokens"
    )
    answers = read_texts(made / "train.parquet", "teacher")
    assert all(len(text.response_ids) == 6 or text.response_ids[-1] == END for text in answers)
    assert artifact.read_json(made / "manifest.json")["tokens"] == sum(
        len(text.response_ids) for text in answers
    )


def test_a_teacher_whose_outputs_are_no_numbers_is_named(tmp_path: Path):
    teacher = llama(1)
    with torch.no_grad():
        teacher.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(
        ValueError, match=r"teacher: the log-probabilities of 8 of its 8 texts are not numbers"
    ):
        written(tmp_path, teacher)
    assert not (tmp_path / "texts").exists()


def test_a_teacher_that_writes_nothing_is_named(tmp_path: Path):
    teacher = llama(1)
    layer = teacher.model.layers[0]
    with torch.no_grad():  # every token is read as the same, and the end is to come after that
        teacher.model.embed_tokens.weight.fill_(1.0)
        for part in (layer.self_attn.o_proj, layer.mlp.down_proj, teacher.lm_head):
            part.weight.zero_()
        teacher.lm_head.weight[END] = 5.0
    with pytest.raises(ValueError, match="each of its 8 responses is only an EOS token"):
        written(tmp_path, teacher)
