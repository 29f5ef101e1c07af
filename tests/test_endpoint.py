"""What is asked of an endpoint: a real server, its faults, a kill in the midst, and keys."""

from pathlib import Path

import pytest
from asking import GREEDY, KEY, VARIABLE, bodies, client, own_text
from model_server import small_server
from transformers_server import served_folder

from pipeline.evaluation.judge_endpoint import ServedJudge
from pipeline.evaluation.judge_prompts import LETTERS
from pipeline.generation import endpoint as endpoints
from pipeline.generation.endpoint import AnswerLog, Client, Completion, ask, request_id
from pipeline.runtime.progress import ProgressLog
from pipeline.settings.endpoint import Endpoint


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoints, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv(VARIABLE, KEY)


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


def test_equal_requests_have_one_answer():
    first, second = bodies(2)
    assert request_id(first) == request_id(dict(reversed(first.items()))) != request_id(second)
    assert Completion("a", True) != Completion("a", False)


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
