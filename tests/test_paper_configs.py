"""The shipped paper protocols: valid, of the stated size, and planned without a network."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_tables import jsonl
from snaking import ROOT, Copy, edited
from stage_commands import job_file, run_stage

from pipeline.data.sources import gather_hub
from pipeline.settings.data import DataSettings, Hub
from workflow.commands import protocol_sizes
from workflow.config.method_checks import resolved_method
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.grid.tuning import trials_of
from workflow.resources.estimates import workload_of
from workflow.resources.fit import least_mb
from workflow.resources.machine import GPU_SPEED, Machine
from workflow.resources.requests import refusals

pytestmark = pytest.mark.slow

TEXTS = {name: (ROOT / f"configs/{name}.yaml").read_text() for name in protocol_sizes.PAPERS}
CONFIGS: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
DOLLY = ("gpt2_dolly", "opt_dolly", "openllama_dolly", "qwen2.5")
ATKD = ("opt_alpaca", "pythia_alpaca")
ATKD_BASES = {  # what ATKD is told of the loss that it stands on
    "forward_kl": {"base": "forward_kl", "reverse": False},
    "reverse_kl": {"base": "forward_kl", "reverse": True},
    "tvd": {"base": "tvd", "reverse": False},
    "jsd": {"base": "jsd", "reverse": False},
}
STUDENTS = {
    # methods, students, seeds; three more for the smallest; six trials with one seed for each
    "gpt2_dolly": (7 * 3 + 3) * (3 + 6),
    "opt_dolly": 7 * 3 * 3,
    "openllama_dolly": 8 * 3,
    "opt_alpaca": 13 * 4 * 3 + 3,  # methods, teachers, seeds; SFT has no teacher
    "pythia_alpaca": 13 * 3 * 3 + 3,
    "qwen2.5": 17 * 3 + 4 * 2 * 3,  # 17 methods under 3B, four under 1.5B and 7B
}


@pytest.mark.parametrize("name", protocol_sizes.PAPERS)
def test_a_protocol_is_planned_without_a_network(project: Copy, name: str):
    config = CONFIGS[name]
    planned = project.planned(config)
    stages = [output.split("/")[0] for output in planned]
    assert stages.count("students") == STUDENTS[name]
    grid = Grid(validate(config))
    assert stages.count("evals") == len(grid.evaluations)
    assert any(output.startswith(f"{config['experiment']}/report") for output in planned)


@pytest.mark.parametrize("name", protocol_sizes.PAPERS)
def test_every_cell_has_three_training_seeds(name: str):
    grid = Grid(validate(CONFIGS[name]))
    seeds: dict[tuple[str, ...], set[int]] = {}
    for cell in grid.cells:
        if cell.kind == "method":
            seeds.setdefault((cell.teacher, cell.student, cell.method), set()).add(cell.seed)
    assert set(map(len, seeds.values())) == {3}


@pytest.mark.parametrize("name", protocol_sizes.PAPERS)
def test_every_method_teacher_and_student_of_a_configuration_is_run(name: str):
    config, cells = CONFIGS[name], Grid(validate(CONFIGS[name])).cells
    of_methods = [cell for cell in cells if cell.kind == "method"]
    assert {cell.method for cell in of_methods} == set(config["methods"])
    assert {cell.teacher for cell in of_methods} == set(config["teachers"])
    assert {cell.student for cell in of_methods} == set(config["students"])


@pytest.mark.parametrize("name", protocol_sizes.PAPERS)
def test_a_revision_is_a_commit_or_said_to_need_one(name: str):
    config = CONFIGS[name]
    sources = [*config["models"].values(), config["data"]["examples"]]
    loose = [
        source["name"]
        for source in sources
        if not re.fullmatch(r"[0-9a-f]{40}", source["revision"])
    ]
    assert not loose or re.search(r"\bpin\b", TEXTS[name])


@pytest.mark.parametrize("name", protocol_sizes.PAPERS)
def test_a_header_says_the_expected_gpu_hours(name: str):
    hours = protocol_sizes.rounded(protocol_sizes.gpu_hours(Grid(validate(CONFIGS[name]))))
    assert f"# Expected: about {hours} GPU-hours" in TEXTS[name], "state it in the header"


ONE_GPU = [file for file in sorted((ROOT / "configs").glob("*.yaml")) if file.stem != "qwen3_large"]


@pytest.mark.parametrize("file", ONE_GPU, ids=lambda f: f.stem)
def test_every_job_of_a_configuration_fits_a_gpu_of_80_gb(file: Path):
    profile = yaml.safe_load((ROOT / "workflow/profiles/gpu/config.yaml").read_text())
    memory = profile["default-resources"]["device_memory_mb"]
    assert memory == 80_000
    grid = Grid(validate(yaml.safe_load(file.read_text())))
    assert refusals(grid, Machine(memory), grid.artifacts.values()) == []


def test_openllama_is_trained_with_lora_as_in_its_papers():
    grid = Grid(validate(CONFIGS["openllama_dolly"]))
    trained = [
        artifact.settings["training"]
        for artifact in grid.artifacts.values()
        if artifact.stage in ("teachers", "starts", "students")
    ]
    papers = {"rank": 16, "alpha": 64, "dropout": 0.1, "targets": ["q_proj", "v_proj"]}
    assert all(training["lora"] == papers for training in trained)
    teacher = grid.teacher("openllama_7b")
    assert least_mb(workload_of(grid, teacher), Machine(80_000)) < 40_000


def test_gpt2_searches_rates_and_batch_sizes_for_each_method_as_switch_does():
    grid = Grid(validate(CONFIGS["gpt2_dolly"]))
    for cell in (cell for cell in grid.cells if cell.kind == "method"):
        budgets = [trial.settings["training"] for trial in trials_of(cell.model)]
        tried = {(budget["learning_rate"], budget["batch_size"]) for budget in budgets}
        assert len(budgets) == len(tried) == 6
        assert {budget["keep_by"] for budget in budgets} == {"rouge_l"}
        if cell.method == "minillm":
            assert (5e-6, 32) in tried  # its published rate
        else:
            assert tried == {(rate, size) for rate in (5e-4, 1e-4, 5e-5) for size in (8, 16)}


@pytest.mark.parametrize("name", DOLLY)
def test_dolly_is_decoded_as_minillm_does(name: str):
    evaluation = validate(CONFIGS[name]).evaluation
    assert evaluation.sampling.model_dump() == {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    assert list(evaluation.decoding_seeds) == [10, 20, 30, 40, 50]
    assert evaluation.max_new_tokens == 256
    assert {"dolly", "selfinst", "vicuna", "sni", "unni"} <= set(evaluation.tasks)


@pytest.mark.parametrize("name", ATKD)
def test_atkd_has_several_teachers_and_decodes_greedily(name: str):
    experiment = validate(CONFIGS[name])
    assert len(experiment.teachers) >= 3
    assert experiment.evaluation.sampling.temperature == 0


@pytest.mark.parametrize("name", ATKD)
@pytest.mark.parametrize("baseline", ["forward_kl", "reverse_kl", "imitkd", "f_distill", "gkd"])
def test_atkd_is_planned_on_each_of_its_five_baselines(name: str, baseline: str):
    rows = validate(CONFIGS[name]).methods
    base = resolved_method(baseline, rows[baseline])
    on_top = [
        row
        for row, choice in rows.items()
        if (own := resolved_method(row, choice)).method.loss == "atkd"
        and own.policy_settings == base.policy_settings
        and (own.method.policy, own.method.text) == (base.method.policy, base.method.text)
        and ATKD_BASES[base.method.loss]
        == {key: own.loss_settings[key] for key in ("base", "reverse")}
    ]
    assert len(on_top) == 1
    cells = Grid(validate(CONFIGS[name])).cells
    trained = {(cell.teacher, cell.seed) for cell in cells if cell.method == on_top[0]}
    assert trained == {(cell.teacher, cell.seed) for cell in cells if cell.method == baseline}


@pytest.mark.parametrize("name", protocol_sizes.PAPERS)
def test_the_papers_training_is_stated_in_keys(name: str):
    experiment = validate(CONFIGS[name])
    tokens = experiment.tokens
    assert (tokens.too_long, tokens.total_tokens) == ("cut", 512)
    assert tokens.bos is not name.startswith("op")  # OPT's and OpenLLaMA's tokenizers put one
    assert experiment.training.dropout == (
        "own" if name in ("gpt2_dolly", "opt_dolly", "opt_alpaca") else 0
    )  # the others have none of their own
    if "minillm" in experiment.methods:
        minillm = resolved_method("minillm", experiment.methods["minillm"])
        assert minillm.policy_settings["passes"] == 4
        assert minillm.policy_settings["rollout_texts"] == 256
        assert minillm.method.plain_text_kl == 0.5
        examples = experiment.data.examples
        assert isinstance(examples, Hub)
        assert (examples.held_out_by, examples.validation) == ("order", 1000)


def test_no_loss_of_a_protocol_sees_less_than_the_whole_vocabulary():
    for name in protocol_sizes.PAPERS:
        grid = Grid(validate(CONFIGS[name]))
        tiers = {method: grid.method(method).teacher for method in CONFIGS[name]["methods"]}
        assert "cache" not in tiers.values(), (name, tiers)


def test_the_table_of_sizes_is_current():
    page = (ROOT / "docs/protocols.md").read_text()
    assert protocol_sizes.table() in page, "put the output of `distilbench protocol-sizes` there"


def test_a_supervised_student_costs_six_flops_a_parameter_and_token():
    config = edited(CONFIGS["opt_dolly"], {"methods": {"sft": None}, "initial_sft": None})
    grid = Grid(validate(config))
    seconds = protocol_sizes.training_seconds(grid.student("sft", "opt_125m", "opt_2700m", 1), 1000)
    # 20 epochs of 1,000 texts of 200 tokens at 6 FLOPs for each of 125M parameters
    assert seconds == pytest.approx(20 * 1000 * 200 * 6 * 125e6 / GPU_SPEED.operations_per_second)
    live = edited(CONFIGS["opt_dolly"], {"methods": {"forward_kl": {"teacher": "live"}}})
    taught = Grid(validate(live)).student("forward_kl", "opt_125m", "opt_2700m", 1)
    ratio = protocol_sizes.training_seconds(taught, 1000) / seconds
    assert ratio == pytest.approx((6 * 125e6 + 2 * 2.7e9) / (6 * 125e6))


def test_the_files_of_minillms_data_set_are_read_by_name(tmp_path: Path):
    # Its folder on the hub holds raw.jsonl and valid.jsonl beside text files, and no splits.
    draw = random.Random(0)
    rows = [
        {"instruction": f"Question {draw.random()}?", "input": "", "output": f"Answer {place}."}
        for place in range(1300)
    ]
    jsonl(tmp_path / "raw.jsonl", rows[:1200])
    jsonl(tmp_path / "valid.jsonl", [row | {"topic": "open_qa"} for row in rows[1200:]])
    (tmp_path / "raw.txt").write_text("no table\n")

    settings = DataSettings.model_validate(CONFIGS["gpt2_dolly"]["data"]).examples
    assert isinstance(settings, Hub)
    local = settings.model_copy(update={"name": str(tmp_path), "plain_text": None})
    gathered = gather_hub(local, seed=0, are_chats=False)
    counts = {split: len(examples) for split, examples in gathered.splits.items()}
    assert counts == {"train": 200, "validation": 1000, "test": 100}


def test_a_file_of_a_hub_out_of_reach_is_one_error_with_the_ways_out(tmp_path: Path):
    settings = {"examples": CONFIGS["gpt2_dolly"]["data"]["examples"]}
    job = job_file(tmp_path / "job.json", "data-1", settings)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = run_stage("prepare_data", job=job, out=tmp_path / "out", environment=offline)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: data set 'MiniLLM/dolly', file 'raw.jsonl', can't be loaded")
    assert "`files`" in line
    assert "Traceback" not in done.stderr
