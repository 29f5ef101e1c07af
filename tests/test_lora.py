"""LoRA: adapters beside frozen weights, from training over kills to the merged model."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from players import CPU, Setup, llama, run, texts
from shelf import put_all
from snaking import ROOT
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from pipeline.artifacts import artifact, checksums
from pipeline.artifacts.artifact import Job
from pipeline.data.batch import collate
from pipeline.generation import generate, sampler
from pipeline.models import lora
from pipeline.models.language_model import load, load_frozen, parameter_count, response_logits
from pipeline.models.trainable import learned_state
from pipeline.publishing.hub import write_weights
from pipeline.settings.distill import DistillSettings
from pipeline.settings.generation import Sampling
from pipeline.settings.training import Lora
from pipeline.stages import train as distill
from pipeline.stages import training_run
from pipeline.stages.options import TrainOptions
from pipeline.training import checkpoint
from pipeline.training.batches import step_batch
from pipeline.training.loop import train, train_step
from pipeline.training.state import TrainingRun, TrainingState, initial_state
from workflow.config.config_file import ConfigError
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.resources.estimates import workload_of

SMALL = Lora(rank=2, alpha=8, dropout=0.0)
DROPPING = Lora(rank=2, alpha=8, dropout=0.2, targets="all-linear")


@pytest.fixture
def options(tmp_path: Path) -> TrainOptions:
    """A whole model to start from, texts, and a teacher."""
    made = put_all(tmp_path / "results")
    (tmp_path / "results" / "students").mkdir()
    artifact.write_manifest(made.start, Job("start", "x", {}), {})
    return replace(made, out=tmp_path / "results" / "students" / "student")


def with_lora(options: TrainOptions, settings: Lora, **training: object) -> TrainOptions:
    chosen = run(Setup("forward_kl", training={"lora": settings, **training})).settings
    return replace(options, job=Job("student", "x", chosen.model_dump(mode="json")))


def assembled(options: TrainOptions) -> TrainingRun:
    settings = DistillSettings.model_validate(options.job.settings)
    return training_run.assemble(options, settings)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return response_logits(model, collate(texts(9), CPU))


def trained(made: TrainingRun, state: TrainingState, last: int) -> None:
    for _ in train(made, state):
        if state.step == last:
            return


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """The model with adapters that change what it says."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in learned_state(model).values():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return model


def test_an_adapter_merged_on_loading_says_what_the_student_said(options: TrainOptions):
    made = assembled(with_lora(options, SMALL))
    student, untrained = moved(made.student.double()), logits(load(options.start, CPU))
    distill._save_student(made, options, options.out / "model")
    merged = load(options.out, CPU)
    # the product of the adapters is rounded to float32 once it is added
    torch.testing.assert_close(logits(merged).double(), logits(student), atol=2e-5, rtol=1e-5)
    assert (logits(merged) - untrained).abs().max() > 0.1
    assert parameter_count(merged) == parameter_count(made.student) == parameter_count(llama(1))
    assert merged.state_dict().keys() == load(options.start, CPU).state_dict().keys()


def test_the_artifact_is_the_adapter_and_peft_reads_it(options: TrainOptions):
    chosen = with_lora(options, SMALL)
    distill.run(chosen)
    files = {path.name for path in (options.out / "model").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "base.json"} <= files
    assert "model.safetensors" not in files
    numbers = 4 * 2 * 16  # A and B of queries and values: rank 2, width 16
    assert (options.out / "model/adapter_model.safetensors").stat().st_size < 4 * numbers + 2_000

    whole = AutoModelForCausalLM.from_pretrained(options.start / "model").eval()
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        theirs = PeftModel.from_pretrained(whole, options.out / "model").eval()
    torch.testing.assert_close(logits(load(options.out, CPU)), logits(theirs.get_base_model()))


def test_only_adapters_are_trained_and_saved(options: TrainOptions):
    made = assembled(with_lora(options, SMALL, weight_decay=0.5))
    frozen = {name: weight.clone() for name, weight in made.student.state_dict().items()}
    state = initial_state(made)
    trained(made, state, 2)
    changed = {
        name for name, weight in made.student.state_dict().items() if not weight.equal(frozen[name])
    }
    assert changed == set(learned_state(made.student))
    assert {name.split(".")[-3] for name in changed} == {"lora_A", "lora_B"}
    weights = [weight for group in state.optimizer.param_groups for weight in group["params"]]
    assert sum(weight.numel() for weight in weights) == 4 * 2 * 16
    checkpoint.save(options.state, made, state, "job")
    saved = torch.load(next(options.state.rglob("state.pt")), weights_only=True)
    assert saved["student"].keys() == changed


@pytest.mark.parametrize("keep", ["last", "best"])
def test_killed_and_resumed_it_ends_with_the_same_bits(options: TrainOptions, keep: str):
    chosen = with_lora(options, DROPPING, keep=keep)
    straight, killed, resumed = (assembled(chosen) for _ in range(3))
    state, early, late = initial_state(straight), initial_state(killed), initial_state(resumed)
    trained(straight, state, 8)
    trained(killed, early, 5)
    checkpoint.save(options.state, killed, early, "job")
    assert checkpoint.resume(options.state, resumed, late, "job")
    trained(resumed, late, 8)
    ends = [learned_state(each.student) for each in (straight, resumed)]
    assert all(ends[0][name].equal(ends[1][name]) for name in ends[0])
    assert [row["loss_nats"] for row in state.rows] == [row["loss_nats"] for row in late.rows]


def test_dropout_drops_in_training_alone(options: TrainOptions):
    made = assembled(with_lora(options, DROPPING))
    moved(made.student)
    before = logits(made.student)
    batch = step_batch(made, initial_state(made), 0)
    losses = []
    for dropout in (0.0, 0.2, 0.2):
        for layer in made.student.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = dropout
        idle = TrainingState(torch.optim.SGD([torch.zeros(())]))
        losses.append(train_step(made, idle, batch).read()[0])
        made.student.zero_grad()
    assert losses[0] != losses[1] == losses[2]
    assert logits(made.student).equal(before)


@pytest.mark.parametrize("settings", [SMALL, DROPPING], ids=["q, v", "all, dropout"])
def test_gradient_checkpointing_changes_no_gradient(options: TrainOptions, settings: Lora):
    gradients = []
    for recomputing in (False, True):
        chosen = replace(with_lora(options, settings), gradient_checkpointing=recomputing)
        made = assembled(chosen)
        moved(made.student)
        idle = TrainingState(torch.optim.SGD([torch.zeros(())]))
        train_step(made, idle, step_batch(made, idle, 0))
        gradients.append([weight.grad for weight in learned_weights(made.student)])
    for gradient, other in zip(*gradients, strict=True):
        assert gradient.equal(other)
        assert gradient.abs().sum() > 0


def learned_weights(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def test_a_start_of_adapters_is_trained_on_and_its_base_stored_once(options: TrainOptions):
    distill.run(with_lora(options, SMALL))
    started = replace(options, start=options.out, out=options.out.with_name("further"))
    same = with_lora(started, SMALL.model_copy(update={"dropout": 0.1}))
    made = assembled(same)
    assert training_run.frozen_base(same, made.settings) == options.start
    torch.testing.assert_close(logits(made.student), logits(load(options.out, CPU)))
    assert any(up.abs().sum() > 0 for up in learned_weights(made.student)[1::2])

    other = with_lora(started, SMALL.model_copy(update={"rank": 3}))
    made = assembled(other)
    torch.testing.assert_close(logits(made.student), logits(load(options.out, CPU)))
    assert all(up.abs().sum() == 0 for up in learned_weights(made.student)[1::2])
    distill.run(other)
    reference = json.loads((other.out / "model/base.json").read_text())
    assert reference["path"] == "../student"
    assert reference["content"] == checksums.read_manifest(options.out)["content"]
    load(other.out, CPU)


def test_a_base_that_is_missing_or_another_is_refused(options: TrainOptions):
    distill.run(with_lora(options, SMALL))
    manifest = checksums.read_manifest(options.start)
    artifact.write_json(
        options.start / "manifest.json",
        checksums.with_checksum({**manifest, "content": "another"}),
    )
    with pytest.raises(ValueError, match="its content is another now"):
        load(options.out, CPU)
    shutil.rmtree(options.start)
    with pytest.raises(ValueError, match="start, which is missing"):
        load(options.out, CPU)


def test_beside_bfloat16_matrices_adapters_are_float32(options: TrainOptions):
    frozen = load_frozen(options.start, CPU, "bfloat16")
    weights = lora.attach(frozen, SMALL, seed=0)
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert frozen.model.layers[0].self_attn.q_proj.base_layer.weight.dtype == torch.bfloat16
    rows = []
    for precision in ("float32", "bfloat16"):
        made = assembled(with_lora(options, SMALL, precision=precision))
        state = initial_state(made)
        trained(made, state, 8)
        rows.append([row["loss_nats"] for row in state.rows])
    assert rows[0] != rows[1]
    assert rows[1] == pytest.approx(rows[0], rel=0.02)


def test_a_student_with_adapters_writes_what_the_merged_one_writes(options: TrainOptions):
    made = assembled(with_lora(options, SMALL))
    moved(made.student)
    distill._save_student(made, options, options.out / "model")
    greedy = sampler(Sampling(temperature=0))
    written = [
        [text.response_ids for text in generate(texts(9), [model], greedy, 8, 0, "student")]
        for model in (made.student, load(options.out, CPU))
    ]
    assert written[0] == written[1]


def test_on_the_hub_a_student_is_whole(options: TrainOptions, tmp_path: Path):
    distill.run(with_lora(options, SMALL))
    write_weights(options.out, tmp_path / "owner")
    assert not list((tmp_path / "owner").glob("*adapter*"))
    published = AutoModelForCausalLM.from_pretrained(tmp_path / "owner").eval()
    torch.testing.assert_close(logits(published), logits(load(options.out, CPU)))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"training": {"rank": 0}}, "training.lora.rank = 0"),
        ({"training": {"ranks": 4}}, "training.lora.ranks"),
        ({"students.narrow.training": {}}, "students.narrow.training.lora: .* random"),
        ({"teachers.large.training": {}}, "teachers.large.training.lora: .* random"),
        ({"initial_sft": {}}, "initial_sft.lora: .* random"),
        (
            {"methods.jsd.training": {"targets": ["key", "q_proj"]}},
            "methods.jsd.training.lora.targets = .* named key; allowed: 'all-linear'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_key(changes: dict, fault: str):
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for path, lora_settings in changes.items():
        block = config
        for key in path.split("."):
            block[key] = block.get(key) or {}
            block = block[key]
        block["lora"] = lora_settings
    with pytest.raises(ConfigError, match=fault) as refused:
        validate(config)
    assert len(str(refused.value).splitlines()) == 1


def test_without_lora_ids_stay_and_with_it_a_job_reads_the_base():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    rows = {"sft": None, "small": {"method": "sft", "training": {"lora": {"rank": 2}}}}
    plain, adapted = Grid(validate(config)), Grid(validate(config | {"methods": rows}))
    whole, student = (adapted.student(row, "narrow", "large", 1) for row in rows)
    assert whole.id == plain.student("sft", "narrow", "large", 1).id
    assert student.settings["training"]["lora"]["rank"] == 2
    start = dict(student.inputs)["start"]
    evaluations = [adapted.evaluations[each] for each in (whole, student)]
    assert evaluations[0].reads == evaluations[0].inputs
    assert set(evaluations[1].reads) - set(evaluations[1].inputs) == {("base", start)}
    sizes = [workload_of(adapted, each) for each in (whole, student)]
    assert sizes[1].disk < sizes[0].disk / 10
    assert sizes[1].resident < sizes[0].resident / 2


def test_a_target_that_no_layer_has_is_refused(options: TrainOptions):
    wrong = SMALL.model_copy(update={"targets": ["q_proj", "key"]})
    with pytest.raises(ValueError, match=r"training.lora.targets: .* named key; allowed: 'all-"):
        assembled(with_lora(options, wrong))
