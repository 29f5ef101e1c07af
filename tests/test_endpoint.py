"""Models behind an endpoint: a real server, its faults, a kill in the midst, and keys."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from model_server import ModelServer, small_server
from snaking import Copy
from transformers_server import served_folder

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.artifact import Job
from pipeline.data.batch import read_texts
from pipeline.evaluation.judge_endpoint import ServedJudge, choice_in
from pipeline.evaluation.judge_prompts import LETTERS, RATINGS
from pipeline.generation import endpoint as endpoints
from pipeline.generation.endpoint import AnswerLog, Client, Completion, ask, request_id
from pipeline.models import vocabulary
from pipeline.runtime.progress import ProgressLog
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

KEY, VARIABLE = "sk-none-may-see", "TEST_ENDPOINT_KEY"
GREEDY = {"max_tokens": 6, "temperature": 0.0}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoints, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv(VARIABLE, KEY)


def client(server: ModelServer, **changes: Any) -> Client:
    address = {"url": server.url, "api": "completions", "api_key": VARIABLE, "timeout_seconds": 20}
    return Client(Endpoint.model_validate(address | changes), "tiny")


def bodies(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Repeat {index} cat", **GREEDY} for index in range(count)]


def own_text(server: ModelServer, prompt: str) -> str:
    """What the model writes, token by token from plain forward passes."""
    ids = server.tokenizer(prompt)["input_ids"]
    written: list[int] = []
    for _ in range(GREEDY["max_tokens"]):
        with torch.no_grad():
            logits = server.model(torch.tensor([[*ids, *written]])).logits[0, -1]
        written.append(int(logits.argmax()))
        if written[-1] == server.tokenizer.eos_token_id:
            break
    return server.tokenizer.decode(written, skip_special_tokens=True)


def test_answers_are_the_models_whatever_fails_in_between(tmp_path: Path):
    faults = [429, 503, "no JSON", '{"choices": []}', '{"choices": [{"text": 3}]}', "[]"]
    with small_server(key=KEY, faults=faults).running() as server:
        log = AnswerLog(tmp_path / "answers.jsonl", "job")
        answers = ask(client(server, concurrency=2, retries=9), bodies(6), log, ProgressLog("", 6))
    assert server.faults == []
    expected = [own_text(server, body["prompt"]) for body in bodies(6)]
    assert [answer.text for answer in answers] == expected
    assert len(set(expected)) > 1
    assert len(server.bodies) == 6


def test_what_is_answered_is_not_asked_again_after_a_kill(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    with small_server(key=KEY).running() as server:
        first = ask(client(server), bodies(4), AnswerLog(path, "job"), ProgressLog("", 4))
        with path.open("a") as file:
            file.write('{"request": "torn')  # as a kill leaves it
        again = ask(client(server), bodies(7), AnswerLog(path, "job"), ProgressLog("", 7))
        assert again[:4] == first
        assert len(server.bodies) == 7
        other = AnswerLog(path, "another job")
        assert not other.answers
    assert path.read_text() == '"another job"\n'


def test_a_server_that_is_down_is_one_error_that_names_it(tmp_path: Path):
    with small_server().running() as server:
        pass
    log = AnswerLog(tmp_path / "answers.jsonl", "job")
    with pytest.raises(ValueError, match=r"no answer .*; tried 3 times\. Start the") as refused:
        ask(client(server, retries=2), bodies(5), log, ProgressLog("", 5))
    assert str(refused.value).startswith(f"the endpoint {server.url} (model tiny): ")


def test_an_answer_that_does_not_come_in_time_is_an_error():
    slow = small_server(seconds=1.0).running()
    with slow as server, pytest.raises(ValueError, match=r"no answer .*tried once"):
        client(server, retries=0, timeout_seconds=0.2, api_key=None).complete(bodies(1)[0])


@pytest.mark.parametrize("status", [400, 302, 503])
def test_no_error_has_the_key_even_where_the_server_says_it(status: int):
    faulty = small_server(faults=[status] * 2).running()
    with faulty as server, pytest.raises(ValueError, match=f"HTTP {status}") as refused:
        client(server, retries=1).complete(bodies(1)[0])
    assert KEY not in str(refused.value)
    assert not server.bodies  # a redirect is not followed


def test_a_key_that_is_refused_or_missing_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch,
):
    with small_server(key="another").running() as server:
        with pytest.raises(ValueError, match=f"refuses the key in {VARIABLE}: HTTP 401") as refused:
            client(server).complete(bodies(1)[0])
        assert KEY not in str(refused.value)
        monkeypatch.setenv(VARIABLE, "two words")
        with pytest.raises(ValueError, match=f"{VARIABLE} holds no key") as refused:
            client(server).complete(bodies(1)[0])
        assert "two words" not in str(refused.value)
        monkeypatch.delenv(VARIABLE)
        with pytest.raises(ValueError, match=f"{VARIABLE} is not set"):
            client(server).complete(bodies(1)[0])


def test_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with small_server().running() as server:
        answer = client(server, api_key=None).complete(bodies(1)[0])
    assert answer.text == own_text(server, bodies(1)[0]["prompt"])


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


def test_equal_requests_have_one_answer():
    first, second = bodies(2)
    assert request_id(first) == request_id(dict(reversed(first.items()))) != request_id(second)
    assert Completion("a", True) != Completion("a", False)


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


@pytest.mark.slow
def test_transformers_serve_answers_on_after_it_was_killed(tmp_path: Path):
    own, served_model = small_server(), served_folder(tmp_path / "tiny")
    address = {"url": served_model.url, "api": "completions", "concurrency": 1, "retries": 0}
    asking = Client(Endpoint.model_validate(address), served_model.name)
    path = tmp_path / "answers.jsonl"

    class Killing(ProgressLog):
        def step(self, items: int, tokens: int = 0) -> None:
            super().step(items, tokens)
            if self.done == 2:
                served_model.kill()

    with served_model.running(), pytest.raises(ValueError, match="no answer"):
        ask(asking, bodies(9), AnswerLog(path, "job"), Killing("", 9))
    before = path.read_text().splitlines()
    assert 3 <= len(before) < 10
    chat = Client(Endpoint.model_validate(address | {"api": "chat"}), served_model.name)
    judge_log = AnswerLog(tmp_path / "judge.jsonl", "job")
    asking = Client(asking.endpoint, served_model.name)
    with served_model.running():
        answers = ask(asking, bodies(9), AnswerLog(path, "job"), ProgressLog("", 9))
        judge = ServedJudge("strict", chat, judge_log, answer_tokens=GREEDY["max_tokens"])
        (judged,) = judge.answers([bodies(1)[0]["prompt"]], LETTERS)
    assert path.read_text().splitlines()[: len(before)] == before
    expected = [own_text(own, body["prompt"]) for body in bodies(9)]
    assert [answer.text for answer in answers] == expected
    assert judged.text == expected[0]


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
