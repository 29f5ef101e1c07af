"""The model families of the paper protocols are read and written as transformers does alone."""

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from pipeline.data.batch import Text, collate
from pipeline.generation import generate, sampler
from pipeline.models.language_model import response_logits
from pipeline.settings.generation import Sampling

WORDS, END = 61, 2
PROMPTS = {"short": [5, 9], "long": [7, 3, 11, 30, 8, 19]}
WIDE = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "bos_token_id": END,
    "eos_token_id": END,
    "pad_token_id": END,
    "initializer_range": 0.3,  # far enough from even odds that the likeliest token is clear
}


def opt(**more: object) -> OPTForCausalLM:
    names = {key: value for key, value in WIDE.items() if key != "initializer_range"}
    config = OPTConfig(**names, ffn_dim=64, max_position_embeddings=64, init_std=0.3, **more)
    return OPTForCausalLM(config)


def family(name: str) -> PreTrainedModel:
    """A tiny random model of a family of the papers."""
    torch.manual_seed(0)
    if name == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": WORDS}
        ends = {"bos_token_id": END, "eos_token_id": END}
        model = GPT2LMHeadModel(GPT2Config(**sizes, **ends, initializer_range=0.3))
    elif name == "opt":
        model = opt(do_layer_norm_before=True, word_embed_proj_dim=32)
    elif name == "opt-350m":  # its embeddings are narrower than its layers, its norms come after
        model = opt(do_layer_norm_before=False, word_embed_proj_dim=16)
    elif name == "pythia":
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**WIDE, intermediate_size=64, rotary_pct=0.25))
    elif name == "qwen2.5":
        model = Qwen2ForCausalLM(Qwen2Config(**WIDE, intermediate_size=64, num_key_value_heads=2))
    else:
        model = LlamaForCausalLM(LlamaConfig(**WIDE, intermediate_size=64))
    return model.eval()


FAMILIES = ("gpt2", "opt", "opt-350m", "pythia", "qwen2.5", "openllama")


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_padding_does_not_change_what_a_model_reads(name: str):
    model = family(name)
    answers = {"short": [4, 17, 22, 6, END], "long": [13, END]}
    texts = [Text(key, PROMPTS[key], answers[key]) for key in PROMPTS]
    read = response_logits(model, collate(texts, torch.device("cpu")))
    alone = [
        model(input_ids=torch.tensor([[*text.prompt_ids, *text.response_ids]])).logits[
            0, len(text.prompt_ids) - 1 : -1
        ]
        for text in texts
    ]
    # float32 sums in another order
    torch.testing.assert_close(read, torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_greedy_text_is_what_transformers_generates_for_the_prompt_alone(name: str):
    model = family(name)
    asked = [Text(key, ids, [END]) for key, ids in PROMPTS.items()]
    ours = generate(asked, [model], sampler(Sampling(temperature=0)), 12, 0, "student")
    for text in ours:
        prompt = torch.tensor([PROMPTS[text.example_id]])
        theirs = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=END,
        )
        assert list(text.response_ids) == theirs[0, prompt.shape[1] :].tolist()
