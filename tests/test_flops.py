"""FLOPs by the formula, against those that torch counts as a model runs."""

from typing import Any

import pytest
import torch
from players import END, llama, schooled, texts
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from pipeline.data.batch import Text, collate
from pipeline.generation import generate, sampler
from pipeline.generation.engine import supports_ragged_batches
from pipeline.models.flops import count, matmul_sizes
from pipeline.models.language_model import response_logits
from pipeline.models.lora import attach
from pipeline.settings.generation import Sampling
from pipeline.settings.training import Lora

CPU = torch.device("cpu")
EQUAL = {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 40, "eos_token_id": END}


def of_families() -> dict[str, PreTrainedModel]:
    """Heads of a size of their own, fewer keys than queries, biases, tied weights."""
    torch.manual_seed(0)
    wide = Qwen2Config(
        hidden_size=32,
        intermediate_size=48,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        attn_implementation="eager",
        **EQUAL,
    )
    gpt = GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        vocab_size=40,
        eos_token_id=END,
        attn_implementation="eager",
    )
    models = {"qwen2": Qwen2ForCausalLM(wide), "gpt2": GPT2LMHeadModel(gpt), "llama": llama(1)}
    return {name: eager(model.eval()) for name, model in models.items()}


def eager(model: PreTrainedModel) -> PreTrainedModel:
    """A model whose attention torch can count: plain matrix products, of all pairs of places."""
    model.set_attn_implementation("eager")
    with torch.no_grad():  # takes passes of a few tokens when a model is first read
        response_logits(model, collate(texts(1), CPU))
    return model


def beyond(model: PreTrainedModel, text: Text) -> int:
    """What plain attention computes of places that come later, which the formula leaves out."""
    sizes = matmul_sizes(model)
    assert sizes is not None
    return 4 * sizes.attention * (text.length**2 - text.length * (text.length + 1) // 2)


def of_rotations(counter: FlopCounterMode) -> int:
    """What the angles of positions took: a product of matrices in some versions of transformers."""
    counts = counter.get_flop_counts()
    return sum(sum(counts[module].values()) for module in counts if module.endswith("rotary_emb"))


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("learning", [False, True])
def test_reading_takes_the_flops_that_torch_counts(family: str, learning: bool) -> None:
    model, text = of_families()[family], texts(10)[7]
    work = count(model)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(learning):
        loss = response_logits(model, collate([text], CPU)).sum()
        if learning:
            loss.backward()
    times = 3 if learning else 1  # the backward pass does all of it twice more
    counted = counter.get_total_flops() - of_rotations(counter)
    assert work.flops == counted - times * beyond(model, text)
    assert work.positions == len(text.prompt_ids) + len(text.response_ids) - 1
    assert work.scored_tokens == len(text.response_ids)
    assert work.trained_positions == learning * work.positions


def test_a_batch_takes_the_flops_of_its_texts_and_none_of_its_padding() -> None:
    model, few = llama(1), texts(5)
    alone = []
    for text in few:
        work = count(model)
        response_logits(model, collate([text], CPU))
        alone.append(work.flops or 0)
    together = count(model)
    response_logits(model, collate(few, CPU))
    assert together.flops == sum(alone)


def test_generation_takes_the_flops_that_torch_counts() -> None:
    model, asked = of_families()["gpt2"].eval(), texts(10)[6]
    assert supports_ragged_batches(model)  # found out once, on a few tokens that are no work
    work = count(model)
    with FlopCounterMode(display=False) as counter:
        (text,) = generate([asked], [model], sampler(Sampling()), 12, 0, "student")
    # plain attention reads all pairs of the prompt, but for its last token, which begins the text
    prompt = Text("", asked.prompt_ids[:-1], [END])
    assert work.flops == counter.get_total_flops() - beyond(model, prompt)
    assert (work.generated_tokens, work.scored_tokens) == (len(text.response_ids),) * 2
    assert work.positions == text.length


def test_a_teacher_with_adapters_takes_less_than_one_that_learns_whole() -> None:
    text = texts(10)[7]

    def flops(model: Any) -> tuple[int, int]:
        work = count(model)
        with FlopCounterMode(display=False) as counter:
            response_logits(model, collate([text], CPU)).sum().backward()
        return work.flops or 0, counter.get_total_flops() - 3 * beyond(model, text)

    whole, _ = flops(eager(llama(1)))
    adapted = eager(llama(1))
    attach(adapted, Lora(rank=2, alpha=2.0), seed=0)
    formula, counted = flops(adapted)
    assert formula < whole
    # the formula has the gradients of the first layer's inputs, which nobody asks for
    sizes = matmul_sizes(adapted)
    assert sizes is not None
    assert counted <= formula <= counted + 2 * sizes.body * text.length


def test_of_a_model_that_nobody_counts_nothing_is_kept() -> None:
    model = schooled()
    response_logits(model, collate(texts(2), CPU))
    assert count(model).positions == 0


def test_stacks_of_matrices_have_no_flops_but_tokens() -> None:
    model = llama(1)
    model.experts = torch.nn.Parameter(torch.zeros(2, 3, 4))
    work = count(model)
    response_logits(model, collate(texts(2), CPU))
    assert work.flops is None
    assert work.scored_tokens == sum(len(text.response_ids) for text in texts(2))
