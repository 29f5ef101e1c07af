"""Teachers and judges behind an endpoint: their texts, their ids, and what they cannot do."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from asking import KEY, VARIABLE, client, own_text
from model_server import ModelServer, small_server
from snaking import Copy
from transformers_server import served_folder

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.artifact import Job
from pipeline.data.batch import read_texts
from pipeline.evaluation.judge_endpoint import ServedJudge, choice_in
from pipeline.evaluation.judge_prompts import LETTERS, RATINGS
from pipeline.generation import endpoint as endpoints
from pipeline.generation.endpoint import AnswerLog
from pipeline.models import vocabulary
from pipeline.settings.data import Template
from pipeline.settings.endpoint import Endpoint
from pipeline.settings.generation import Sampling, ServedTextJob
from pipeline.stages import ask as stage
from pipeline.stages.options import AskOptions
from pipeline.stages.tokenize import text_pairs
from workflow.config.config_file import ConfigError
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs.flags import flags_of


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoints, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv(VARIABLE, KEY)


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "example_id": f"e{index}",
            "instruction": f"Repeat {index} cat",
            "input": "",
            "prompt": f"Repeat {index} cat\n",
            "responses": ["dog"],
            "source": "",
        }
        for index in range(count)
    ]


def put(folder: Path, server: ModelServer, examples: list[dict[str, Any]]) -> dict[str, Path]:
    """Data and tokens as their stages leave them."""
    template = Template(with_input="{input}\n", without_input="{instruction}\n")
    columns = {name: [row[name] for row in examples] for name in schemas.EXAMPLES.names}
    (folder / "data").mkdir()
    schemas.write(folder / "data/train.parquet", columns, schemas.EXAMPLES)
    settings = {"template": template.model_dump(mode="json")}
    artifact.write_json(folder / "data/manifest.json", {"id": "data", "settings": settings})
    pairs = text_pairs(examples, server.tokenizer, template)
    tokens = {
        "example_id": [row["example_id"] for row in examples],
        "prompt_ids": [pair.prompt_ids for pair in pairs],
        "response_ids": [pair.response_ids for pair in pairs],
    }
    (folder / "tokens").mkdir()
    schemas.write(folder / "tokens/train.parquet", tokens, schemas.TOKENS)
    server.tokenizer.save_pretrained(folder / "tokens/model")
    facts = asdict(vocabulary.conventions_of_model(folder / "tokens"))
    artifact.write_json(folder / "tokens/manifest.json", {"id": "tokens", **facts})
    return {"data": folder / "data", "tokens": folder / "tokens"}


def options(folder: Path, server: ModelServer, inputs: dict[str, Path]) -> AskOptions:
    settings = ServedTextJob(
        sampling=Sampling(temperature=0.9),
        samples=2,
        max_new_tokens=6,
        served_model="tiny",
        api="completions",
    )
    address = Endpoint(url=server.url, api="completions", api_key=VARIABLE, retries=0)
    return AskOptions(
        job=Job("texts", "x", settings.model_dump()),
        **inputs,
        state=folder / "state",
        out=folder / "texts",
        endpoint=address.model_dump_json(),
    )


def test_texts_of_a_served_teacher_resume_and_end_as_the_models_own(tmp_path: Path):
    server = small_server(key=KEY)
    inputs = put(tmp_path, server, rows(12))
    server.faults = [418]  # a refusal in the midst ends the job
    with server.running():
        with pytest.raises(ValueError, match="refuses the request: HTTP 418"):
            stage.run(options(tmp_path, server, inputs))
        stage.run(options(tmp_path, server, inputs))
    prompts = [json.dumps(body, sort_keys=True) for body in server.bodies]
    assert len(set(prompts)) == 24  # two samples of each, with seeds of their own
    texts = read_texts(tmp_path / "texts/train.parquet", "teacher")
    manifest = artifact.read_json(tmp_path / "texts/manifest.json")
    assert len(texts) + manifest["empty"] == 24
    end = server.tokenizer.eos_token_id
    answers = dict(server.answer(body) for body in server.bodies)
    ended = 0
    for text in texts:
        written = server.tokenizer.decode(text.response_ids, skip_special_tokens=True)
        assert len(text.response_ids) <= 6
        if text.response_ids[-1] == end:
            assert answers[written] == "stop"
            ended += 1
    assert manifest["eos_share"] == pytest.approx(ended / len(texts))
    assert vocabulary.conventions_of_texts(tmp_path / "texts") == vocabulary.conventions_of_texts(
        inputs["tokens"]
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def served(tiny: dict[str, Any], **changes: Any) -> dict[str, Any]:
    box = {"endpoint": "http://127.0.0.1:8000/v1", "model": "Qwen/Qwen3-8B"} | changes
    return tiny | {"teachers": {"box": box}, "methods": {"sft": None, "seqkd": None}}


def test_the_address_is_no_part_of_what_a_text_is_named_by(tiny: dict[str, Any]):
    grid = Grid(validate(served(tiny)))
    elsewhere = Grid(validate(served(tiny, endpoint={"url": "http://node7/v1", "retries": 1})))
    text = grid.text("box")
    assert text.id == elsewhere.text("box").id
    assert flags_of(grid, text) != flags_of(elsewhere, text)
    assert "8000" not in text.settings_json
    other = Grid(validate(served(tiny, model="Qwen/Qwen3-4B")))
    assert text.id != other.text("box").id
    assert {cell.kind for cell in grid.cells} == {"untrained", "start", "method"}
    assert not any(path.startswith("results/caches") for path in grid.artifacts)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"endpoint": "http://me:hidden@h/v1"}, "teachers.box.endpoint: an address holds no"),
        ({"endpoint": "http://h/v1?key=hidden"}, "teachers.box.endpoint: an address holds no"),
        ({"endpoint": "localhost"}, "teachers.box.endpoint = 'localhost': not the address"),
        (
            {"endpoint": {"url": "http://h/v1", "api_key": "sk-hidden"}},
            "teachers.box.endpoint.api_key: not the name of an environment variable",
        ),
        ({"training": {"steps": 3}}, "training: a model behind an endpoint is not trained here"),
        ({"tokenizer": "own"}, "tokenizer: a model behind an endpoint is not trained here"),
    ],
)
def test_a_faulty_endpoint_is_refused_without_its_secrets(
    tiny: dict[str, Any], changes: dict[str, Any], line: str
):
    with pytest.raises(ConfigError) as refused:
        validate(served(tiny, **changes))
    assert line in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_methods_that_need_distributions_are_refused_with_those_that_do_not(tiny: dict[str, Any]):
    config = served(tiny) | {"methods": {"seqkd": None, "jsd": None, "gkd": None, "sft": None}}
    with pytest.raises(ConfigError) as refused:
        validate(config)
    lines = str(refused.value).splitlines()
    refused_methods = [line.partition(" reads")[0] for line in lines]
    assert refused_methods == ["grid.0: method jsd", "grid.0: method gkd"]
    assert all(line.endswith("allowed with it: seqkd, sft") for line in lines)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("B", "B"),
        (" [[A]] since", "A"),
        ("**Answer: C**", "C"),
        ("A\n\nIt is shorter", "A"),
        ("<think>B? No.</think>\nA.", "A"),
        ("A better response is B", None),
        ("Both", None),
        ("A/B", None),
        ("A = B", None),
        ("A - it is shorter", "A"),
        ("", None),
    ],
)
def test_a_letter_is_read_where_the_text_begins_with_it(text: str, choice: str | None):
    assert choice_in(text, LETTERS) == choice


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("10", "10"),
        ("Rating: 7/10", "7"),
        ("8 / 10", "8"),
        ("7.0", "7"),
        ("1.", "1"),
        ("7.5", None),
        ("7-8", None),
        ("7/8", None),
        ("9/100", None),
        ("11", None),
        ("10 of 10", None),
    ],
)
def test_a_rating_is_read_as_a_whole_number(text: str, choice: str | None):
    assert choice_in(text, RATINGS) == choice


def test_a_served_judge_answers_as_its_model_writes(tmp_path: Path):
    with small_server(key=KEY).running() as server:
        log = AnswerLog(tmp_path / "answers.jsonl", "job")
        judge = ServedJudge("strict", client(server, api="chat"), log, answer_tokens=6)
        answers = judge.answers(["Which?", "Repeat 1 cat", "Which?"], LETTERS)
    assert len(server.bodies) == 2  # equal questions are asked once
    assert answers[1].text == own_text(server, "Repeat 1 cat")
    assert answers[0].text == answers[2].text
    assert all(answer.choice == choice_in(answer.text, LETTERS) for answer in answers)


def test_a_served_judge_has_no_model_here_and_its_address_no_part_in_ids(tiny: dict[str, Any]):
    def grid(url: str) -> Grid:
        judge = {"model": "Qwen/Qwen3-8B", "endpoint": url}
        return Grid(validate(tiny | {"evaluation": {"judges": {"strict": judge}}}))

    here, there = grid("http://127.0.0.1:8000/v1"), grid("http://node7/v1")
    assert set(here.artifacts) == set(there.artifacts)
    evaluation = here.evaluations[here.teacher("large")]
    assert {role for role, _ in evaluation.inputs} == {"evaluation", "data"}
    assert "node7" in flags_of(there, evaluation)[1]


@pytest.mark.xdist_group("chain_again")
def test_seqkd_of_a_served_teacher_from_config_to_scores(
    chain: Copy, tiny: dict[str, Any], tmp_path: Path
):
    with served_folder(tmp_path / "tiny").running() as server:
        endpoint = {"url": server.url, "api_key": VARIABLE}
        config = served(tiny) | {"experiment": "served"}
        config["teachers"] = {"box": {"model": server.name, "endpoint": endpoint}}
        done = chain.made(config)
    grid = Grid(validate(config))
    assert grid.text("box").path in done
    texts = read_texts(chain.folder / grid.text("box").path / "train.parquet", "teacher")
    assert 0 < len(texts) <= 126
    assert len({tuple(text.response_ids) for text in texts}) > 20
    files = [path for path in (chain.folder / "results").rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    scores = pd.read_parquet(chain.folder / "results/served/report/scores.parquet")
    assert set(scores["method"]) == {"untrained", "start", "sft", "seqkd"}
    assert {"nll_nats", "rouge_l"} <= set(scores.query("method == 'seqkd'")["metric"])
    assert not any("teacher" in metric for metric in set(scores["metric"]))
