"""Estimates: sizes against real models, work against arithmetic, and what grows when."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from snaking import ROOT, edited, saved_model
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig
from transformers import LlamaForCausalLM as Llama

from pipeline.models.language_model import parameter_count
from pipeline.models.layer_selection import select_layers
from pipeline.settings.models import Shape
from workflow.config.validate import validate
from workflow.grid.artifact import Artifact
from workflow.grid.grid import Grid
from workflow.resources.data_sizes import examples_of, teacher_texts
from workflow.resources.estimates import estimate, workload_of
from workflow.resources.fit import MB, least_mb
from workflow.resources.machine import CPU, GPU, Machine
from workflow.resources.model_sizes import (
    ASSUMED_PARAMETERS,
    KNOWN,
    of_folder,
    of_name,
    of_shape,
    size,
)

VOCABULARY = 320
CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


@pytest.fixture
def grid(tiny: dict[str, Any]) -> Grid:
    return Grid(validate(edited(tiny, {"methods.gkd": None})))


def llama(layers: int, width: int, feed_forward: int, tied: bool) -> Llama:
    return Llama(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=feed_forward,
            num_hidden_layers=layers,
            num_attention_heads=2,
            tie_word_embeddings=tied,
        )
    )


def test_a_model_is_expected_to_be_prepared_about_as_fast_as_one_was():
    grid = Grid(validate(yaml.safe_load((ROOT / "configs/smollm2.yaml").read_text())))
    model = grid.model("smollm2", 0)
    assert 14 < estimate(grid, model).seconds < 56  # half and twice of 28 s, on a core


def test_what_a_server_writes_takes_as_long_as_it_may_be_asked(tiny: dict[str, Any]):
    seconds = []
    for limits in ({}, {"concurrency": 16}, {"concurrency": 16, "requests_per_minute": 30}):
        endpoint = {"url": "http://127.0.0.1:8000/v1", **limits}
        teachers = {"box": {"model": "Qwen/Qwen3-8B", "endpoint": endpoint}}
        methods = {"sft": None, "seqkd": None}
        grid = Grid(validate(tiny | {"teachers": teachers, "methods": methods}))
        seconds.append(workload_of(grid, grid.text("box")).seconds)
    # of one second each, 8 or 16 at a time; or one in two seconds
    assert seconds[1] == seconds[0] / 2
    assert seconds[2] == seconds[0] * 8 * 2


def test_a_teacher_writes_a_text_for_each_prompt_where_all_are_asked_for(
    tmp_path: Path, tiny: dict[str, Any]
):
    train = write_rows(tmp_path / "train.jsonl", 60_200)
    files = {"source": "files", "train": train, "validation": 100, "test": 100}
    changes = {"data.examples": files, "data.train_limit": None, "teacher_text": {"prompts": None}}
    grid = Grid(validate(edited(tiny, changes)))
    assert teacher_texts(grid, grid.text("large")) == 60_000


def write_rows(path: Path, count: int) -> str:
    path.write_text('{"instruction": "a", "input": "", "output": "b"}\n' * count)
    return str(path)


def test_a_split_in_a_file_of_its_own_is_counted_there(tmp_path: Path, tiny: dict[str, Any]):
    train, test = write_rows(tmp_path / "a.jsonl", 100), write_rows(tmp_path / "b.jsonl", 700)
    files = {"source": "files", "train": train, "validation": 0.2, "test": test}
    grid = Grid(validate(edited(tiny, {"data.examples": files, "data.test_limit": None})))
    assert examples_of(grid) == {"train": 80, "validation": 20, "test": 700}


def test_a_mixture_by_weight_is_as_large_as_its_scarcest_source_allows(
    tmp_path: Path, tiny: dict[str, Any]
):
    sources = {}
    for name, rows in (("few", 100), ("many", 1000)):
        path = write_rows(tmp_path / f"{name}.jsonl", rows)
        sources[name] = {"source": "files", "train": path, "validation": 10, "test": 10}
    for weights, train in (({"few": 3, "many": 1}, 80 + 80 // 3), ({}, 80 + 980)):
        mixture = {"source": "mixture", "sources": sources, "weights": weights}
        grid = Grid(validate(edited(tiny, {"data.examples": mixture})))
        assert examples_of(grid) == {"train": train, "validation": 20, "test": 20}


@pytest.mark.parametrize("tied", [True, False])
def test_a_shape_is_counted_as_transformers_counts_it(tied: bool):
    shape = Shape(source="shape", layers=3, width=32, heads=2, tie_embeddings=tied)
    # null: 8/3 of the width, in multiples of 16
    real = llama(layers=3, width=32, feed_forward=80, tied=tied)
    assert of_shape(shape, VOCABULARY).parameters == parameter_count(real)


def test_some_layers_of_a_shape_are_counted_with_its_embeddings():
    shape = {"source": "shape", "layers": 4, "width": 32, "heads": 2, "seed": 0}
    whole = Artifact.of("models", "wide", shape)
    cut = Artifact.of(
        "models",
        "cut",
        {"source": "layers_of", "model": "base", "layers": 2, "seed": 0},
        ("base", whole),
    )
    real = select_layers(llama(layers=4, width=32, feed_forward=80, tied=True), 2)
    assert size(cut, VOCABULARY).parameters == parameter_count(real)
    assert size(cut, VOCABULARY).layers == 2


def test_a_saved_model_is_counted_from_its_headers(tmp_path: Path):
    folder = saved_model(tmp_path, {"<end>": 0, "one": 1, "two": 2})
    counted = of_folder(folder)
    assert counted.parameters == parameter_count(AutoModelForCausalLM.from_pretrained(folder))
    assert (counted.layers, counted.width, counted.vocabulary) == (2, 16, 3)
    named = {"source": "hub", "name": str(folder), "revision": "main", "seed": 0}
    assert size(Artifact.of("models", "one", named), None) == counted


@pytest.mark.parametrize("name", [name for name in KNOWN if name.startswith("gpt2")])
def test_the_table_has_the_real_counts(name: str):
    known = KNOWN[name]
    with torch.device("meta"):
        model = GPT2LMHeadModel(
            GPT2Config(
                n_layer=known.layers,
                n_embd=known.width,
                n_head=known.width // 64,
                vocab_size=known.vocabulary,
            )
        )
    assert parameter_count(model) == known.parameters


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135 * MB),
        ("Qwen/Qwen2.5-0.5B", 500 * MB),
        ("facebook/opt-1.3b", 1_300 * MB),
        ("EleutherAI/pythia-410m-deduped", 410 * MB),
        ("meta-llama/Llama-3.2-1B", 1_000 * MB),
        ("openai-community/gpt2-xl", 1_557_611_200),
        ("someone/nameless-2", ASSUMED_PARAMETERS),
        ("Qwen/Qwen3-30B-A3B", 30_000 * MB),  # of experts, of which a token has 3B
        ("ibm-granite/granite-3.0-1b-a400m-base", 1_000 * MB),
        ("mistralai/Mixtral-8x7B-v0.1", 8 * 7_000 * MB),
    ],
)
def test_a_model_of_the_hub_has_its_size_in_its_name(name: str, parameters: int):
    assert of_name(name).parameters == parameters


def test_training_costs_six_operations_a_parameter_and_a_live_teacher_two(grid: Grid):
    own = size(grid.student("sft", "small", "large", 1), VOCABULARY).parameters
    teacher = size(grid.teacher("large"), VOCABULARY).parameters
    # 12 steps of 8 texts, each half of 64 + 32 tokens long; 2 validations of 64 texts
    read, measured = 12 * 8 * 48, 2 * 64 * 48
    alone = workload_of(grid, grid.student("sft", "small", "large", 1))
    assert alone.operations == read * 6 * own + measured * 2 * own
    live = workload_of(grid, grid.student("gkd", "small", "large", 1))
    written = 12 * 8 * 8  # of at most 8 tokens, by both models
    more = read * 2 * teacher + written * 2 * (own + teacher)
    assert live.operations == alone.operations + more


def test_training_holds_weights_gradients_and_two_moments(grid: Grid):
    student = grid.student("sft", "small", "large", 1)
    own = size(student, VOCABULARY).parameters
    # 4 bytes each, and bfloat16 copies
    assert workload_of(grid, student).resident == (4 * 4 + 2) * own


def test_a_student_that_writes_holds_its_writers_copies_and_a_frozen_teacher_its_matrices(
    tiny: dict[str, Any],
):
    rows = {"gkd": None, "reverse_kl": None, "okd": None}
    grid = Grid(validate(edited(tiny, {"methods": {"sft": None, "jsd": None} | rows})))
    own = size(grid.student("gkd", "small", "large", 1), VOCABULARY).parameters
    live = size(grid.teacher("large"), VOCABULARY)
    # matrices in bfloat16; the table of embeddings stays in float32, and its copy is the head
    teacher = 2 * (live.parameters - 320 * 32) + (4 + 2) * 320 * 32
    held = {
        name: workload_of(grid, grid.student(name, "small", "large", 1)).resident
        for name in ("gkd", "reverse_kl", "okd")
    }
    assert grid.method("reverse_kl").policy == "fixed"
    assert held["reverse_kl"] == 18 * own + teacher
    assert held["gkd"] == 20 * own + teacher
    # a teacher that learns keeps float32 weights beside their copies; no smaller one is updated
    assert held["okd"] - 6 * live.parameters in (18 * own, 20 * own)


def test_in_float32_nothing_is_held_twice(tiny: dict[str, Any]):
    grid = Grid(validate(edited(tiny, {"training.precision": "float32", "methods.gkd": None})))
    own = size(grid.student("sft", "small", "large", 1), VOCABULARY).parameters
    teacher = size(grid.teacher("large"), VOCABULARY).parameters
    assert workload_of(grid, grid.student("sft", "small", "large", 1)).resident == 16 * own
    assert (
        workload_of(grid, grid.student("gkd", "small", "large", 1)).resident
        == 18 * own + 4 * teacher
    )


def test_epochs_count_the_training_examples(tiny: dict[str, Any]):
    once = edited(tiny, {"training": {"epochs": 2, "batch_size": 8}})
    grid = Grid(validate(once))
    # 150 lines, of which 12 each are set apart
    assert workload_of(grid, grid.student("sft", "small", "large", 1)).steps == -(-2 * 126 // 8)


def test_the_logits_of_a_part_are_held_beside_the_weights(tiny: dict[str, Any]):
    grid = Grid(validate(edited(tiny, {"methods": {"sft": None, "reverse_kl": None}})))
    workload = workload_of(grid, grid.student("sft", "small", "large", 1))
    # 2 micro-batches of 8 texts, each half of 64 + 32 tokens long
    assert (workload.logits, workload.logit_bytes) == (2 * 8 * 48 * VOCABULARY, 16)
    assert workload_of(grid, grid.student("reverse_kl", "small", "large", 1)).logit_bytes == 40
    wide = replace(workload, logits=2**30)
    for memory_mb, at_once in ((24_000, 2**26), (80_000, 2**28)):
        machine = Machine(device_memory_mb=memory_mb)
        more = least_mb(wide, machine) - least_mb(replace(workload, logits=0), machine)
        assert abs(more * MB - 16 * at_once) <= MB


def test_where_nobody_says_large_models_are_on_a_gpu_and_small_ones_on_a_cpu(grid: Grid):
    small = grid.student("sft", "small", "large", 1)
    assert estimate(grid, small) == estimate(grid, small, CPU)
    hub = Grid(validate(yaml.safe_load((ROOT / "configs/smollm2.yaml").read_text())))
    large = hub.student("sft", "layers12", "smollm2", 1)
    assert estimate(hub, large) == estimate(hub, large, GPU)
    assert estimate(hub, large).seconds < estimate(hub, large, CPU).seconds / 100


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_artifact_of_a_shipped_configuration_has_an_estimate(path: Path):
    grid = Grid(validate(yaml.safe_load(path.read_text())))
    for artifact in grid.artifacts.values():
        for machine in (CPU, GPU):
            estimated = estimate(grid, artifact, machine)
            assert estimated.seconds > 0
            assert 0 < estimated.memory_mb < 1_000_000
            assert estimated.disk_mb >= 0
