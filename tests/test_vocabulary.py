"""Texts have one tokenizer and one end; models that meet them agree, learn it, or are refused."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from players import llama
from players import texts as players_texts
from shelf import put_all, put_model, put_texts
from stage_commands import job_file, run_stage
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from word_pieces import END, TURN, byte_level

from pipeline.artifacts import artifact
from pipeline.data.batch import Text
from pipeline.generation import generate, sampler
from pipeline.models import vocabulary
from pipeline.models.language_model import load, load_tokenizer
from pipeline.models.reconcile import reconcile_tokenizer
from pipeline.settings.distill import DistillSettings
from pipeline.settings.generation import Sampling
from pipeline.settings.models import Shape
from pipeline.stages import training_run
from pipeline.stages.prepare_model import from_folder, from_shape
from pipeline.training.run_checks import check_positions

CPU = torch.device("cpu")


def saved(
    folder: Path, words: PreTrainedTokenizerFast, ends: list[int] | None = None, seed: int = 1
) -> Path:
    """A prepared model, whose generation config may name further ends."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
        eos_token_id=words.eos_token_id,
        bos_token_id=words.bos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = ends
    reconcile_tokenizer(model, words)
    model.save_pretrained(folder / "model")
    words.save_pretrained(folder / "model")
    return folder


def texts_in(folder: Path, model: Path) -> Path:
    """An artifact of texts that has the conventions of a model, and nothing in it."""
    folder.mkdir()
    facts = asdict(vocabulary.conventions_of_model(model))
    artifact.write_json(folder / artifact.MANIFEST, {"id": folder.name, **facts})
    return folder


def test_the_ends_are_the_tokenizer_s_and_those_of_generate(tmp_path: Path):
    words = byte_level(begins=True)
    conventions = vocabulary.conventions_of_model(saved(tmp_path / "model", words, ends=[5, 7]))
    assert conventions.ends == [words.eos_token_id, 5, 7]
    assert conventions.before == [words.bos_token_id]


def test_a_student_ends_where_its_texts_do_and_where_it_did(tmp_path: Path):
    teacher = saved(tmp_path / "teacher", byte_level(eos=TURN))
    student = saved(tmp_path / "student", byte_level(eos=END))
    tokens = texts_in(tmp_path / "tokens", teacher)
    vocabulary.check(student, tokens)
    model = vocabulary.adopt_end_tokens(load(student, CPU), tokens)
    turn, end = (byte_level().convert_tokens_to_ids(word) for word in (TURN, END))
    assert model.config.eos_token_id == turn
    assert model.generation_config.eos_token_id == [turn, end]


def test_text_stops_where_generate_stops_at_either_end(tmp_path: Path):
    words = byte_level()
    folder = saved(tmp_path / "student", words)
    prompts = [words.encode(f"Repeat {animal}") for animal in ("cat", "dog", "sun", "sea", "hat")]
    free = generate(
        [Text(str(index), ids, []) for index, ids in enumerate(prompts)],
        [load(folder, CPU)], sampler(Sampling(temperature=0)), 20, 0, "student",
    )  # fmt: skip
    end = free[0].response_ids[4]  # a token that the model does write: the end of these texts
    tokens = texts_in(tmp_path / "tokens", saved(tmp_path / "other", words, ends=[end]))
    model = vocabulary.adopt_end_tokens(load(folder, CPU), tokens)
    written = generate(
        [Text(str(index), ids, []) for index, ids in enumerate(prompts)],
        [model], sampler(Sampling(temperature=0)), 20, 0, "student",
    )  # fmt: skip
    for ids, text in zip(prompts, written, strict=True):
        asked = torch.tensor([ids])
        expected = model.generate(
            asked, attention_mask=torch.ones_like(asked), max_new_tokens=20, do_sample=False
        )
        assert list(text.response_ids) == expected[0, len(ids) :].tolist()
    assert written[0].ended
    assert len(written[0].response_ids) <= 5


@pytest.mark.parametrize(
    ("words", "ends", "message"),
    [
        (byte_level(eos=TURN), None, r"ends texts with '<\|turn\|>', the texts in .* '<\|end\|>'"),
        (byte_level(), [9], r"ends texts with '<\|end\|>' and .*, the texts in .* '<\|end\|>'"),
        (byte_level(begins=True), None, "begins texts with '<s>', the texts in .* nothing"),
    ],
    ids=["another end", "an end more", "another beginning"],
)
def test_a_teacher_that_is_used_as_it_is_must_begin_and_end_texts_alike(
    words: PreTrainedTokenizerFast, ends: list[int] | None, message: str, tmp_path: Path
):
    tokens = texts_in(tmp_path / "tokens", saved(tmp_path / "first", byte_level()))
    second = saved(tmp_path / "second", words, ends)
    with pytest.raises(ValueError, match=message + ": give this teacher `training`"):
        vocabulary.check_teacher(second, tokens)
    made = {"id": "second", "inputs": {"start": "x", "tokens": "y"}}
    artifact.write_json(second / artifact.MANIFEST, made)
    vocabulary.check_teacher(second, tokens)  # it has learnt how the texts are


def test_a_teacher_of_several_ends_teaches_a_student_of_one(tmp_path: Path):
    teacher = saved(tmp_path / "teacher", byte_level(begins=True), ends=[0, 9])
    tokens = texts_in(tmp_path / "tokens", teacher)
    vocabulary.check_teacher(teacher, tokens)
    student = vocabulary.adopt_end_tokens(
        load(saved(tmp_path / "student", byte_level()), CPU), tokens
    )
    assert student.generation_config.eos_token_id == [0, 9]


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path):
    words = byte_level()
    saved(tmp_path / "model", words)
    words.eos_token = None
    words.save_pretrained(tmp_path / "model/model")
    with pytest.raises(ValueError, match="has no EOS token, so that no text could end"):
        vocabulary.conventions_of_model(tmp_path / "model")


def test_a_model_of_a_shape_ends_at_the_end_alone():
    words = byte_level()
    shape = Shape(source="shape", layers=1, width=16, heads=2)
    model, _ = reconcile_tokenizer(from_shape(shape, words, seed=0), words)
    assert model.generation_config.eos_token_id == words.eos_token_id


def from_elsewhere(folder: Path, words: PreTrainedTokenizerFast, rows: int) -> LlamaForCausalLM:
    """A model as its maker saves it: bfloat16, a tied head, shards, and rows that are no token."""
    torch.manual_seed(rows)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, vocab_size=rows, num_attention_heads=2, tie_word_embeddings=True)
    model = LlamaForCausalLM(config).bfloat16().eval()
    model.generation_config.eos_token_id = [words.eos_token_id, 9]
    model.save_pretrained(folder, max_shard_size="30KB")
    words.save_pretrained(folder)
    return model


@torch.no_grad()
def test_models_whose_embeddings_are_padded_differently_share_a_vocabulary(tmp_path: Path):
    words = byte_level()
    words.bos_token = words.pad_token = None
    ids = torch.tensor([words.encode("Repeat cat")])
    for name, padding in (("small", 8), ("large", 72)):
        original = from_elsewhere(tmp_path / f"{name} source", words, len(words) + padding)
        assert len([*(tmp_path / f"{name} source").glob("model-*.safetensors")]) > 1
        model, tokenizer = reconcile_tokenizer(*from_folder(tmp_path / f"{name} source"))
        model.save_pretrained(tmp_path / name / "model")
        tokenizer.save_pretrained(tmp_path / name / "model")
        prepared = load(tmp_path / name, CPU)
        logits = prepared(ids).logits
        assert logits.shape[-1] == len(words)  # padding is no outcome
        torch.testing.assert_close(logits, original.float()(ids).logits[..., : len(words)])
        assert prepared.generation_config.eos_token_id == [words.eos_token_id, 9]
    vocabulary.check(tmp_path / "large", texts_in(tmp_path / "tokens", tmp_path / "small"))


def job_settings(policy: str, new_tokens: int) -> dict[str, Any]:
    """A step of supervised fine-tuning."""
    method = {"loss": "cross_entropy", "policy": policy, "teacher": "none"}
    training = {"steps": 1, "batch_size": 4, "learning_rate": 0.01, "validations": 0}
    return {"method": method, "training": training, "max_new_tokens": new_tokens, "seed": 0}


def trained(folder: Path, start: Path, tokens: Path) -> Path:
    """A student as the stage leaves it."""
    job = job_file(folder / "job.json", "student", job_settings("fixed", 4), "x")
    state, out = folder / "state", folder / "out"
    done = run_stage("train", job=job, start=start, tokens=tokens, state=state, out=out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_a_trained_student_is_saved_with_the_end_that_it_has_learnt(tmp_path: Path):
    start, texts = put_model(tmp_path / "start", llama(1)), players_texts(8)
    base = load_tokenizer(start)
    base.eos_token = "word5"  # as a base model's, which is none of the texts'
    base.save_pretrained(start / "model")
    tokens = put_texts(tmp_path / "tokens", texts, ("train", "validation"))
    made = trained(tmp_path, start, tokens)
    assert load_tokenizer(made).eos_token == load_tokenizer(tokens).eos_token == "word1"
    assert load(made, CPU).generation_config.eos_token_id == 1
    vocabulary.check_teacher(made, tokens)


def test_a_student_too_short_for_what_it_is_to_write_is_named(tmp_path: Path):
    files = put_all(tmp_path)
    config = files.start / "model/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 20}))
    longest = max(len(text.prompt_ids) for text in players_texts(20)) + 16
    message = (
        f"start has 20 positions, and its texts have up to {longest} tokens, prompt and response"
    )
    for policy, new_tokens in (("fixed", 16), ("mixed", 4)):
        settings = DistillSettings.model_validate(job_settings(policy, new_tokens))
        check_positions(training_run.assemble(files, settings), files.start, files.teacher)
    settings = DistillSettings.model_validate(job_settings("mixed", 16))
    with pytest.raises(ValueError, match=message):
        check_positions(training_run.assemble(files, settings), files.start, files.teacher)
