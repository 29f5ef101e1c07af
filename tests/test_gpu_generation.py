"""Texts on a pretended GPU: one graph repeats the step, and writes what the step itself writes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest
import torch
from players import texts, turn
from pretend_cuda import CUDA
from pretend_ledger import Ledger
from pretend_runtime import on_gpu
from test_paper_models import WIDE, family
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from benchmarks import tiny_families
from pipeline.data.batch import Text, collate
from pipeline.data_policies import build_policy, speculative
from pipeline.generation import capacity, engine, generate, sampler
from pipeline.generation.engine import EngineSize, GenerationEngine, supports_ragged_batches
from pipeline.methods import components
from pipeline.methods.components import generates_text
from pipeline.models.language_model import load, load_frozen
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.costs import GRAPH_CAPTURES
from pipeline.settings.generation import Sampling

pytestmark = pytest.mark.slow

FAMILIES = ("openllama", "qwen2.5", "gpt2", "opt", "opt-350m", "pythia", "qwen3")
READERS = ("openllama", "gpt2")  # one of those whose forward pass is ours, one of the others
OTHER = "lfm2"  # left to the plain loop
# hyperparameters that make a policy write all of its texts, where it does not by itself
WRITING = {
    "adaptive": {"first_share": 1.0},
    "mixed": {"student_share": 1.0},
    "speculative": {"top": 6},
    "switch": {"gold_share": 0.0, "first_threshold": 0.3},
}
POLICIES = [name for name in components.names("data_policies") if generates_text(name)]
OF_ONE_AND_OF_TWO = ("mixed", "speculative")  # models that write, all that a family can tell apart
TIME = 6
SAMPLERS = {
    "sampled": Sampling(),
    "greedy": Sampling(temperature=0),
    "top-p": Sampling(top_p=0.9),
    "top-k": Sampling(top_k=5),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder of another test is of another GPU. Short drafts: they change no text."""
    monkeypatch.setattr(capacity, "_LAST_ENGINE", {})
    monkeypatch.setattr(speculative, "DRAFTED_TOKENS", 2)


def model(name: str, seed: int) -> PreTrainedModel:
    """A model of a family on the GPU; those of other seeds disagree with it."""
    return on_gpu(on_host(name, seed))


def on_host(name: str, seed: int) -> PreTrainedModel:
    if name == OTHER:
        made = tiny_families.model_of(OTHER)
    elif name == "qwen3":
        shape = {"num_key_value_heads": 2, "intermediate_size": 64, "head_dim": 8}
        made = Qwen3ForCausalLM(Qwen3Config(**WIDE, **shape)).eval()
    else:
        made = family(name)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draw))
    return made


@contextmanager
def without_graphs() -> Iterator[None]:
    """Each step is taken by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "capture_cuda_graph", lambda *_: None)
        patch.setattr(capacity, "_LAST_ENGINE", {})
        yield


def by_policy(name: str, student: PreTrainedModel, teacher: PreTrainedModel) -> list[Text]:
    """What a policy gives for a step."""
    pool = texts(6)
    policy = build_policy(name, WRITING.get(name, {}))
    return policy.texts(pool, turn(student, teacher, pool, max_new_tokens=TIME))


def assert_captured(write_texts: Callable[[], list[Text]], gpu: Ledger) -> list[Text]:
    """The texts, which a graph must have written."""
    captured, failed = GRAPH_CAPTURES.compiled, GRAPH_CAPTURES.failed
    written = write_texts()
    assert (GRAPH_CAPTURES.compiled > captured, GRAPH_CAPTURES.failed) == (True, failed)
    assert not gpu.forbidden
    assert not gpu.rounded
    return written


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        *product(READERS, POLICIES),
        *product([name for name in FAMILIES if name not in READERS], OF_ONE_AND_OF_TWO),
    ],
)
def test_a_policy_s_step_can_be_captured_in_every_family(name: str, policy: str, gpu: Ledger):
    student, teacher = model(name, 1), model(name, 2)
    written = assert_captured(lambda: by_policy(policy, student, teacher), gpu)
    assert any(text.log_probs for text in written)
    if name in READERS:
        with without_graphs():
            assert by_policy(policy, student, teacher) == written


@pytest.mark.parametrize("way", SAMPLERS)
def test_a_sampler_s_step_is_captured_and_writes_the_same_texts(way: str, gpu: Ledger):
    student, choose = model("qwen2.5", 1), sampler(SAMPLERS[way])
    written = assert_captured(
        lambda: generate(texts(6), [student], choose, TIME, 3, "student"), gpu
    )
    with without_graphs():
        assert generate(texts(6), [student], choose, TIME, 3, "student") == written


@pytest.mark.parametrize("name", [*FAMILIES, OTHER])
def test_a_frozen_model_writes_in_bfloat16_what_it_writes_in_float32(
    name: str, tmp_path: Path, gpu: Ledger
):
    on_host(name, 1).save_pretrained(tmp_path / "model")
    whole, half = load(tmp_path, CUDA), load_frozen(tmp_path, CUDA, "auto")
    assert {torch.bfloat16} < {weight.dtype for weight in half.parameters()}
    in_float32, in_bfloat16 = (
        generate(texts(6), [reader], sampler(Sampling()), TIME, 3, "teacher")
        for reader in (whole, half)
    )
    assert in_bfloat16 == in_float32
    assert not gpu.forbidden
    batch = collate(in_float32, CUDA)
    signals = [LiveTeacher(reader).signal(batch).log_probs.cpu() for reader in (whole, half)]
    assert signals[0].equal(signals[1])


@pytest.mark.parametrize("policy", POLICIES)
def test_the_plain_loop_writes_on_a_gpu_too(policy: str, gpu: Ledger):
    student, teacher = model(OTHER, 1), model(OTHER, 2)
    assert not supports_ragged_batches(student)
    written = by_policy(policy, student, teacher)
    assert any(text.log_probs for text in written)
    assert not gpu.rounded


@pytest.mark.parametrize("name", [*FAMILIES, OTHER])
@torch.no_grad()
def test_log_probabilities_are_those_of_the_model_as_it_is_when_it_writes(name: str, gpu: Ledger):
    student, choose = model(name, 1), sampler(Sampling())
    for _ in range(2):
        written = generate(texts(6), [student], choose, TIME, 3, "student")
        batch = collate(written, student.device)
        read = LiveTeacher(student).signal(batch).log_probs.cpu()
        read = read.gather(-1, batch.next_ids.cpu()[:, None])[:, 0]
        recorded = torch.tensor([number for text in written for number in text.log_probs])
        # bfloat16 is rounded at other places where tokens are read one by one
        assert (recorded - read).abs().mean() < 0.05
        for weight in student.parameters():  # as if it learnt: the decoder that is kept must follow
            weight.mul_(0.5)
    assert not gpu.forbidden


def test_steps_between_two_looks_at_what_has_ended_wait_for_nothing(gpu: Ledger):
    student = model("openllama", 1)
    made = GenerationEngine([student], sampler(Sampling()), EngineSize(4, 64, TIME))
    gpu.clear()
    made.advance()
    assert gpu.waits.total() == 1  # the look
