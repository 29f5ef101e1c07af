"""What a GPU needs in order to repeat a step unseen, as far as a CPU can tell."""

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
import torch
from players import END, llama, texts
from test_ragged_decoders import Readers, model_of
from transformers import PreTrainedModel

from pipeline.data_policies import ada_switch, speculative, switch
from pipeline.generation import AnySampler, generate, sampler
from pipeline.generation.cuda_graph import Bf16Weights, capture_cuda_graph
from pipeline.generation.engine import EngineSize, GenerationEngine, generate_step
from pipeline.generation.kv_cache import decode_positions
from pipeline.generation.llama_forward import decoder_layer
from pipeline.generation.slots import Prompt, uniforms
from pipeline.models.language_model import autocast
from pipeline.settings.generation import Sampling

WAYS: dict[str, tuple[Sequence[int], AnySampler]] = {
    "one model": ((1,), sampler(Sampling())),
    "two models": ((1, 2), switch.Policy(decay=1.0).choose),
    "memory": ((1, 2), ada_switch.Policy(factor=1.1, window=3).writer()),
    "drafts": ((1, 2), replace(speculative.Policy(top=12).draft(), draft_tokens=3)),
}
TIME = 17


def storages(engine: GenerationEngine) -> list[int]:
    """Where all that a step writes to lies in memory."""
    held = [getattr(engine.slots, field.name) for field in fields(engine.slots)]
    caches = [key for decoder in engine.decoders for key in (*decoder.keys, *decoder.values)]
    return [tensor.data_ptr() for tensor in (*held, *caches)]


@pytest.mark.parametrize("name", WAYS)
@torch.no_grad()
def test_steps_over_all_places_into_the_same_storage_write_the_same_texts(name: str):
    seeds, choose = WAYS[name]
    models: list[PreTrainedModel] = [llama(seed) for seed in seeds]
    asked = sorted(texts(11), key=lambda text: -len(text.prompt_ids))
    expected = generate(asked, models, choose, TIME, 3, "student")

    decoder = GenerationEngine(models, choose, EngineSize(16, 30, TIME))  # five slots stay empty
    for _ in range(3):  # as before a capture, with no text in the slots
        generate_step(decoder.decoders, choose, decoder.slots, decoder.length, (END,))
    before = storages(decoder)
    prompts = [Prompt(text.prompt_ids, uniforms(3, text.example_id, TIME)) for text in asked]
    decoder.add(range(11), prompts)
    for _ in range(TIME + 8):  # some steps more than any text needs
        generate_step(decoder.decoders, choose, decoder.slots, decoder.length, (END,))
    assert storages(decoder) == before
    written = decoder.responses(range(11))
    assert [draft.tokens for draft in written] == [text.response_ids for text in expected]


@pytest.mark.usefixtures("traceable")
@torch.no_grad()
def test_a_layer_is_compiled_in_one_piece_and_computes_the_same():
    model = model_of("qwen2")
    compiled = torch.compile(decoder_layer, fullgraph=True, backend="aot_eager")
    plain, traced = Readers(model), Readers(model)
    plain.reader.fused = traced.reader.fused = []  # as a GPU reads
    traced.reader.decode_layer = compiled
    for readers in (plain, traced):
        readers.assert_reads(1)
    reading = decode_positions(plain.read, 1, 16)
    assert plain.reader.keys[2][reading.rows, :, : int(plain.read.min())].equal(
        traced.reader.keys[2][reading.rows, :, : int(plain.read.min())]
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU captures the step")
def test_a_step_that_cannot_be_captured_is_taken_as_it_is_and_the_log_says_why(
    capsys: pytest.CaptureFixture[str],
):
    wishes: list[bool] = []

    def step() -> None:
        wishes.append(True)

    assert capture_cuda_graph(step, wishes.append) is None
    assert wishes == [True, False]  # compiled, then not; and no step was taken
    output = capsys.readouterr()
    assert "the step as it is can't be captured in a CUDA graph: " in output.out + output.err


@pytest.mark.parametrize("name", ["llama with biases and tied embeddings", "gpt2", "pythia"])
@torch.no_grad()
def test_matrices_of_half_the_size_give_what_autocast_gives_and_learn_with_the_model(name: str):
    model, ids = model_of(name), torch.arange(12).view(2, 6)
    halved = Bf16Weights(model)
    assert halved.pairs
    for _ in range(2):
        with autocast(ids.device, "bfloat16"):
            assert halved.model(ids).logits.equal(model(ids).logits)
        for weight in model.parameters():
            weight.mul_(1.5)
        halved.refresh()
