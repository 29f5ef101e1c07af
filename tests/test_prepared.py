"""The models stage: a model that isn't used here as by its own forward doesn't pass it."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DiffLlamaConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GenerationConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    OpenAIGPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    SmolLM3Config,
)

from pipeline.artifacts.artifact import Job
from pipeline.data.batch import Text
from pipeline.generation import generate, sampler
from pipeline.models import forward_check
from pipeline.models.layer_selection import select_layers
from pipeline.models.reconcile import ignored_generation_settings, reconcile_tokenizer
from pipeline.settings.generation import Sampling
from pipeline.settings.models import Tokenizer
from pipeline.stages import prepare_model as stage
from pipeline.stages.options import PrepareModelOptions
from pipeline.stages.train_tokenizer import train

TEXTS = ["the red cat sleeps in the barn", "the blue dog runs over a wide green field"]
WORDS = train(TEXTS * 5, Tokenizer(vocabulary_size=300))
END = WORDS.eos_token_id
SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "max_position_embeddings": 64,
}
IDS = torch.tensor([[5, 80, 17, 200, 33, 9]])


def saved(folder: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """A random model in a folder, its tokenizer beside it."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    WORDS.save_pretrained(folder)
    return model


def run(out: Path, settings: dict[str, object], base: Path | None = None) -> None:
    """The stage, as its command line calls it."""
    job = Job(out.name, "code", {"seed": 1, **settings})
    stage.run(PrepareModelOptions(job=job, base=base, out=out))


def prepared(tmp_path: Path) -> Path:
    """What the stage makes of the folder `source`."""
    out = tmp_path / "made"
    run(out, {"source": "path", "path": str(tmp_path / "source"), "digest": None})
    return out


def warnings_of(made: Path) -> list[str]:
    """What a user should know of a prepared model."""
    return json.loads((made / "manifest.json").read_text())["warnings"]


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=IDS).logits


def test_a_model_passes_unchanged(tmp_path: Path) -> None:
    model = saved(tmp_path / "source", GraniteConfig(**SIZES, logits_scaling=8.0))
    made = prepared(tmp_path)
    assert logits(AutoModelForCausalLM.from_pretrained(made / "model")).equal(logits(model))
    assert warnings_of(made) == []


def test_a_wrappers_prefix_is_left_out_and_said(tmp_path: Path) -> None:
    model = saved(tmp_path / "source", LlamaConfig(**SIZES))
    file = tmp_path / "source" / "model.safetensors"
    named = {f"_orig_mod.{name}": weight for name, weight in load_file(file).items()}
    save_file(named, file, {"format": "pt"})

    made = prepared(tmp_path)

    assert logits(AutoModelForCausalLM.from_pretrained(made / "model")).equal(logits(model))
    (warning,) = warnings_of(made)
    assert "_orig_mod." in warning


def test_a_family_whose_text_would_be_another_is_refused_by_name(tmp_path: Path) -> None:
    config = OpenAIGPTConfig(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    saved(tmp_path / "source", config)  # its forward keeps no state of what it has read
    with pytest.raises(ValueError, match=r"^made: OpenAIGPTLMHeadModel can't generate here"):
        prepared(tmp_path)
    assert not (tmp_path / "made").exists()


class Shouting(torch.nn.Module):
    """A body that makes its last state half as large where a text is read in a batch."""

    def __init__(self, body: torch.nn.Module):
        super().__init__()
        self.body = body

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The states of a text, as the model's own norm makes them."""
        return self.body(hidden) * (1 if len(hidden) == 1 else 0.5)


def test_a_model_that_reads_otherwise_in_a_batch_is_found_out(tmp_path: Path) -> None:
    model = saved(tmp_path, GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2))
    assert forward_check.forward_differences(model) == []
    model.transformer.ln_f = Shouting(model.transformer.ln_f)
    differences = forward_check.forward_differences(model)
    assert [problem.what for problem in differences] == ["logits, in a padded batch"]
    assert differences[0].share > 0.1


@pytest.mark.parametrize("count", [2, 3])
def test_a_cut_model_keeps_each_layers_own_properties(tmp_path: Path, count: int) -> None:
    config = SmolLM3Config(**SIZES, pad_token_id=END, eos_token_id=END)
    model = saved(tmp_path / "base" / "model", config)
    turns = [layer.self_attn.use_rope for layer in model.model.layers]
    assert turns == [1, 1, 1, 0]  # the last layer has no rotary positions

    run(tmp_path / "cut", {"source": "layers_of", "model": "m", "layers": count}, tmp_path / "base")

    made = AutoModelForCausalLM.from_pretrained(tmp_path / "cut" / "model")
    assert [layer.self_attn.use_rope for layer in made.model.layers] == [1, 1, 0][-count:]
    assert logits(made).equal(logits(select_layers(model, count)))


def test_a_cut_that_a_configuration_cannot_say_is_refused(tmp_path: Path) -> None:
    # each layer's share of differential attention is made of its number, which a cut changes
    saved(tmp_path / "base" / "model", DiffLlamaConfig(**SIZES))
    settings = {"source": "layers_of", "model": "m", "layers": 3}
    with pytest.raises(ValueError, match=r"^cut: DiffLlama.*saved and loaded: off by"):
        run(tmp_path / "cut", settings, tmp_path / "base")


def test_whatever_ends_a_text_of_the_source_is_kept(tmp_path: Path) -> None:
    model = saved(tmp_path / "source", LlamaConfig(**SIZES))
    model.generation_config.eos_token_id = [7, 9]
    model.save_pretrained(tmp_path / "source")

    made = AutoModelForCausalLM.from_pretrained(prepared(tmp_path) / "model")

    assert made.generation_config.eos_token_id == [END, 7, 9]
    assert made.config.eos_token_id == END


def test_what_of_a_generation_config_is_not_obeyed_is_in_the_manifest(tmp_path: Path) -> None:
    model = saved(tmp_path / "source", LlamaConfig(**SIZES))
    model.generation_config = GenerationConfig(
        repetition_penalty=1.3, do_sample=True, top_k=20, eos_token_id=7, max_length=64
    )
    model.save_pretrained(tmp_path / "source")

    (warning,) = warnings_of(prepared(tmp_path))

    assert "is ignored" in warning
    for setting in ("'repetition_penalty': 1.3", "'do_sample': True", "'top_k': 20"):
        assert setting in warning
    assert ignored_generation_settings(GenerationConfig(eos_token_id=4)) == {}


def test_special_tokens_beyond_the_models_rows_are_taken_out(tmp_path: Path) -> None:
    saved(tmp_path / "source", LlamaConfig(**SIZES))
    words = copy.deepcopy(WORDS)
    words.add_tokens(["<image_soft_token>"], special_tokens=True)
    words.save_pretrained(tmp_path / "source")
    assert len(AutoTokenizer.from_pretrained(tmp_path / "source")) == 301

    out = prepared(tmp_path)

    made = AutoTokenizer.from_pretrained(out / "model")
    assert made.get_vocab() == WORDS.get_vocab()
    assert warnings_of(out) == ["1 special tokens without an embedding are left out"]
    text = "the cat <image_soft_token>"
    assert made(text)["input_ids"] == WORDS(text)["input_ids"]  # plain text, as any other


def test_ordinary_tokens_beyond_the_models_rows_are_named(tmp_path: Path) -> None:
    model, words = saved(tmp_path, LlamaConfig(**SIZES)), copy.deepcopy(WORDS)
    words.add_tokens(["zebra"])
    with pytest.raises(ValueError, match=r"has 300 tokens, its tokenizer 301: .*too many: zebra"):
        reconcile_tokenizer(model, words)


def gemma3(folder: Path) -> PreTrainedModel:
    """A model of text and images, with more rows than its tokenizer has tokens."""
    text = {**SIZES, "vocab_size": 310, "head_dim": 8, "sliding_window": 8}
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(
        text_config=text, vision_config=vision, image_token_id=300, mm_tokens_per_image=4
    )
    config.eos_token_id = END
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    return model


def test_the_text_part_of_a_composite_is_what_it_is_in_the_whole(tmp_path: Path) -> None:
    whole, words = gemma3(tmp_path / "source"), copy.deepcopy(WORDS)
    words.add_tokens(["<image_soft_token>"], special_tokens=True)
    words.save_pretrained(tmp_path / "source")

    out = prepared(tmp_path)

    made = AutoModelForCausalLM.from_pretrained(out / "model")
    assert made.config.model_type == "gemma3_text"
    assert not any("vision" in name for name, _ in made.named_parameters())
    torch.testing.assert_close(logits(made), logits(whole)[..., :300])
    # as of a tokenizer of the model for text alone: the two can be teacher and student
    assert AutoTokenizer.from_pretrained(out / "model").get_vocab() == WORDS.get_vocab()


def test_fresh_weights_lost_and_made_again_are_the_same_bytes(tmp_path: Path) -> None:
    WORDS.save_pretrained(tmp_path / "words" / "model")
    shape = {"source": "shape", "layers": 2, "width": 32, "heads": 2}
    for name in ("one", "other"):
        torch.rand(5)
        job = Job(name, "code", {"seed": 3, **shape})
        words, out = tmp_path / "words", tmp_path / name
        stage.run(PrepareModelOptions(job=job, tokenizer=words, out=out))
    first, again = ((tmp_path / name / "model" / "model.safetensors") for name in ("one", "other"))
    assert first.read_bytes() == again.read_bytes()


def test_greedy_text_of_a_prepared_model_is_its_sources(tmp_path: Path) -> None:
    model = saved(tmp_path / "source", SmolLM3Config(**SIZES, pad_token_id=END, eos_token_id=END))
    made = AutoModelForCausalLM.from_pretrained(prepared(tmp_path) / "model").eval()
    text = Text("a", IDS[0].tolist(), [END])
    written = generate([text], [made], sampler(Sampling(temperature=0)), 8, 0, "teacher")[0]
    expected = model.generate(
        IDS, attention_mask=torch.ones_like(IDS), do_sample=False, max_new_tokens=8
    )
    assert list(written.response_ids) == expected[0, IDS.shape[1] :].tolist()
