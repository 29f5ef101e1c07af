"""Dropout: on where a gradient is computed and nowhere else, drawn by seed and step."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from players import CPU, Setup, run
from refusals import refusal
from shelf import put_model
from snaking import edited, saved_model
from transformers import AutoConfig, GPT2Config, MambaConfig, OPTConfig

from pipeline.models import language_model
from pipeline.models.dropout import probabilities
from pipeline.models.teacher import LiveTeacher
from pipeline.training import checkpoint
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, initial_state
from workflow.config.saved_models import WITHOUT_DROPOUT
from workflow.config.validate import validate

DROPOUT = {"dropout": 0.3, "validations": 2}


def dropping(folder: Path, method: str = "sft", **training: Any) -> TrainingRun:
    """A run of a method whose student was loaded for a training with dropout."""
    made = run(Setup(method, steps=4, training=DROPOUT | training))
    saved = put_model(folder / "start", made.student)
    dropout = made.settings.training.dropout
    return replace(made, student=language_model.load(saved, CPU, dropout=dropout))


def weights(made: TrainingRun) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in made.student.parameters()])


def test_a_resumed_run_draws_what_one_without_a_break_does(tmp_path: Path):
    whole, first, second, none = (
        dropping(tmp_path / str(index), dropout=0.3 if index < 3 else 0.0) for index in range(4)
    )
    for made in (whole, none):
        list(train(made, initial_state(made)))
    state = initial_state(first)
    list(islice(train(first, state), 2))
    checkpoint.save(tmp_path / "state", first, state, "job")
    resumed = initial_state(second)
    assert checkpoint.resume(tmp_path / "state", second, resumed, "job")
    torch.rand(7)  # what else a process draws doesn't matter
    list(train(second, resumed))
    assert torch.equal(weights(whole), weights(second))
    assert not torch.allclose(weights(whole), weights(none))


@pytest.mark.parametrize("method", ["gkd", "distillm", "okd"])
def test_only_a_gradient_has_dropout_and_never_a_teacher(tmp_path: Path, method: str):
    made = dropping(tmp_path, method)
    seen: list[tuple[bool, bool]] = []
    layer = made.student.get_submodule("model.layers.0")
    layer.register_forward_pre_hook(lambda *_: seen.append((layer.training, made.student.training)))
    gradients: list[bool] = []
    layer.register_forward_pre_hook(lambda *_: gradients.append(torch.is_grad_enabled()))
    assert isinstance(made.teacher, LiveTeacher)
    teacher = made.teacher.model
    taught: list[bool] = []
    teacher.base_model.register_forward_pre_hook(lambda module, *_: taught.append(module.training))
    list(train(made, initial_state(made)))
    on = [both == (True, True) for both in seen]
    assert on == gradients
    assert True in on
    assert False in on
    assert taught
    assert not any(taught)


def test_a_pass_for_statistics_draws_what_the_pass_for_the_gradient_does(tmp_path: Path):
    made = replace(dropping(tmp_path, "atkd"), max_tokens=24)  # several micro-batches
    outputs: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    made.student.base_model.register_forward_hook(
        lambda module, _, output: (
            outputs[torch.is_grad_enabled()].append(output.last_hidden_state.detach())
            if module.training
            else None
        )
    )
    list(islice(train(made, initial_state(made)), 1))
    assert len(outputs[True]) > 1
    torch.testing.assert_close(outputs[True], outputs[False])


def test_recomputed_activations_have_the_same_dropout(tmp_path: Path):
    kept, recomputed = (dropping(tmp_path / name) for name in ("kept", "recomputed"))
    recomputed = replace(recomputed, gradient_checkpointing=True)
    for made in (kept, recomputed):
        list(train(made, initial_state(made)))
    torch.testing.assert_close(weights(kept), weights(recomputed))


@pytest.mark.parametrize("family", WITHOUT_DROPOUT)
def test_a_family_that_has_no_dropout_of_its_own_is_known_by_its_name(family: str):
    config = AutoConfig.for_model(family)
    with pytest.raises(ValueError, match=rf"dropout = 'own': the family {family} has"):
        probabilities(config, "own")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"training.dropout": "own"}, "training"),
        ({"initial_sft": {"steps": 2, "dropout": "own"}}, "initial_sft"),
        ({"methods": {"jsd": {"training": {"dropout": "own"}}}}, "methods.jsd.training"),
        ({"teachers.large.training": {"steps": 3, "dropout": "own"}}, "teachers.large.training"),
    ],
)
def test_a_dropout_that_the_model_has_not_is_refused_before_any_job(
    tiny: dict[str, Any], changes: dict[str, Any], place: str
):
    assert f"{place}.dropout = 'own': model " in refusal(edited(tiny, changes))


def test_a_saved_model_is_asked_for_its_own_dropout(tiny: dict[str, Any], tmp_path: Path):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    named = {"source": "path", "path": str(folder)}
    models = {"models.wide": named, "models.narrow": named, "tokenizer": None}
    config = edited(tiny, models | {"teacher_cache.k": 2, "training.dropout": "own"})
    assert refusal(config).startswith("training.dropout = 'own': model narrow has none of its own")
    saved = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(saved | {"attention_dropout": 0.1}))
    assert validate(config)


def test_a_probability_is_put_where_a_family_has_its_own():
    assert probabilities(GPT2Config(), 0.2) == dict.fromkeys(
        ("attn_pdrop", "resid_pdrop", "embd_pdrop"), 0.2
    )
    assert probabilities(OPTConfig(), 0.2) == {"dropout": 0.2, "attention_dropout": 0.2}
    assert probabilities(OPTConfig(), "own") == {"dropout": 0.1, "attention_dropout": 0.0}
    assert probabilities(OPTConfig(), 0.0) == {}


def test_dropout_that_would_do_nothing_is_refused():
    with pytest.raises(
        ValueError, match=r"training\.dropout = 0\.1: the family mamba has no dropo"
    ):
        probabilities(MambaConfig(), 0.1)
    without = OPTConfig(dropout=0.0)
    with pytest.raises(ValueError, match=r"training\.dropout = 'own': the family opt has \{"):
        probabilities(without, "own")
