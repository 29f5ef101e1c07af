"""Asks a server of the OpenAI API, several requests at a time, and keeps every finished answer.

Requests that a server fails (HTTP 408, 429, 5xx, no connection, a timeout, an answer that is not
what the API says) are repeated after a growing pause, or after the one that the server asks for.
The key is read from the environment when a request is sent; no error message or file has it.
"""

import hashlib
import http.client
import ipaddress
import json
import queue
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.runtime.progress import ProgressLog
from pipeline.settings.endpoint import Endpoint

PATHS = {"chat": "chat/completions", "completions": "completions"}
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds
BUSY = (408, 409, 425, 429)  # statuses that another attempt may not get, beside 5xx
ANSWERS = "answers.jsonl"  # the finished answers in a job's state
SHOWN = 200  # characters of a server's own words in an error message

Body = Mapping[str, Any]  # of a request, as JSON has it


@dataclass(frozen=True)
class Completion:
    """An answer: its text, and whether the model ended it."""

    text: str
    ended: bool


class TemporaryError(Exception):
    """A failure that another attempt may not have."""

    def __init__(self, reason: str, pause: float | None = None):
        super().__init__(reason)
        self.pause = pause  # seconds that the server asks for


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are errors: the key must not follow one to another server."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        return None


@dataclass
class Client:
    """A model behind an endpoint."""

    endpoint: Endpoint
    model: str
    stopped: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _next_start: float = 0.0  # when the next request may begin

    def complete(self, body: Body) -> Completion:
        """The answer to a request.

        Raises:
            ValueError: where the server refuses it, or fails it at every attempt.
        """
        attempts = self.endpoint.retries + 1
        for attempt in range(attempts):
            self._wait_for_turn()
            try:
                return self._completion(self._send(body))
            except TemporaryError as error:
                if attempt + 1 == attempts:
                    times = f"{attempts} times" if attempts > 1 else "once"
                    raise ValueError(
                        f"{self._name}: {error}; tried {times}. Start the server or wait, and run "
                        "again: finished answers are kept"
                    ) from None
                growing = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1)
                self.stopped.wait(growing if error.pause is None else error.pause)
        raise AssertionError("an attempt returns or raises")

    @property
    def _name(self) -> str:
        return f"the endpoint {self.endpoint.url} (model {self.model})"

    def _wait_for_turn(self) -> None:
        if not self.endpoint.requests_per_minute:
            return
        with self._turn:
            start = max(time.monotonic(), self._next_start)
            self._next_start = start + 60 / self.endpoint.requests_per_minute
        self.stopped.wait(start - time.monotonic())

    def _send(self, body: Body) -> Any:
        """The JSON value that the server answers."""
        request = urllib.request.Request(
            f"{self.endpoint.url}/{PATHS[self.endpoint.api]}",
            json.dumps({"model": self.model, **body}).encode(),
            {"Content-Type": "application/json"},
        )
        if self.endpoint.api_key is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self.endpoint.key}")
        try:
            with _opener(self.endpoint.url).open(
                request, timeout=self.endpoint.timeout_seconds
            ) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise self._of_status(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise TemporaryError(f"no answer ({reason or type(error).__name__})") from None
        except ValueError:
            raise TemporaryError("its answer is no JSON") from None

    def _of_status(self, error: urllib.error.HTTPError) -> Exception:
        """The error of a reply that is none of success."""
        body = self._without_key(error.read(10_000).decode(errors="replace"))
        reason = f"HTTP {error.code} {error.reason}: {' '.join(body.split()):.{SHOWN}}"
        if error.code in BUSY or error.code >= 500:
            asked = error.headers.get("Retry-After", "")
            pause = min(float(asked), 10 * LONGEST_PAUSE) if asked.isdecimal() else None
            return TemporaryError(reason, pause)
        if error.code in (401, 403):
            variable = self.endpoint.api_key
            key = f"the key in {variable}" if variable else "a request without a key (`api_key`)"
            return ValueError(f"{self._name} refuses {key}: {reason}")
        return ValueError(f"{self._name} refuses the request: {reason}")

    def _without_key(self, text: str) -> str:
        return text.replace(self.endpoint.key, "***") if self.endpoint.api_key else text

    def _completion(self, reply: Any) -> Completion:
        try:
            choice = reply["choices"][0]
            is_chat = self.endpoint.api == "chat"
            text = choice["message"]["content"] if is_chat else choice["text"]
            if not isinstance(text, str | None):
                raise TypeError
            return Completion(text or "", choice.get("finish_reason") == "stop")
        except (KeyError, IndexError, TypeError, AttributeError):
            keys = ", ".join(map(str, reply)) if isinstance(reply, dict) else type(reply).__name__
            raise TemporaryError(f"its answer has no text where the API has it ({keys})") from None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """What opens an address: without a proxy where it is of this machine."""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if is_loopback(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AnswerLog:
    """Finished answers in a file, a line each, of the job whose key its first line has."""

    def __init__(self, path: Path, key: str):
        self.answers: dict[str, Completion] = {}
        self.seconds = 0.0  # that all of them took, over all runs of the job
        lines = path.read_text(encoding="utf-8").splitlines(True) if path.is_file() else []
        whole = [line for line in lines if line.endswith("\n")]  # a kill may have torn the last
        if not whole or json.loads(whole[0]) != key:
            whole = [json.dumps(key) + "\n"]
        for line in whole[1:]:
            self._take(json.loads(line))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(whole), encoding="utf-8")
        self.path = path

    def _take(self, record: Mapping[str, Any]) -> None:
        self.answers[record["request"]] = Completion(record["text"], record["ended"])
        self.seconds += record["seconds"]

    def add(self, request: str, answer: Completion, seconds: float) -> None:
        """Keeps an answer, and the seconds since the one before."""
        record = {"request": request, "seconds": seconds, **asdict(answer)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._take(record)


def request_id(body: Body) -> str:
    """A digest of a request: equal ones have one answer."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]


def ask(
    client: Client, bodies: Sequence[Body], log: AnswerLog, progress: ProgressLog
) -> list[Completion]:
    """The answers to all requests, in their order; those in the log are not asked for again.

    Raises:
        ValueError: with the first failure; what was answered before it is in the log.
    """
    by_id = {request_id(body): body for body in bodies}
    waiting = {id: body for id, body in by_id.items() if id not in log.answers}
    progress.skip(len(by_id) - len(waiting))
    done: queue.SimpleQueue[tuple[str, Completion | Exception]] = queue.SimpleQueue()
    _start(client, waiting, done.put)
    last, failure = time.monotonic(), None
    for _ in waiting:
        if failure is not None and done.empty():
            raise failure
        id, answer = done.get()
        if isinstance(answer, Exception):
            client.stopped.set()
            failure = failure or answer
            continue
        now = time.monotonic()
        log.add(id, answer, now - last)
        last = now
        progress.step(1)
    if failure is not None:
        raise failure
    return [log.answers[request_id(body)] for body in bodies]


def _start(
    client: Client,
    waiting: Mapping[str, Body],
    put: Callable[[tuple[str, Completion | Exception]], None],
) -> None:
    """Starts threads that send the requests; they don't keep a process that is to end."""
    todo: queue.SimpleQueue[tuple[str, Body]] = queue.SimpleQueue()
    for item in waiting.items():
        todo.put(item)

    def work() -> None:
        """Sends requests until none waits, or one has failed."""
        while not client.stopped.is_set():
            try:
                id, body = todo.get_nowait()
            except queue.Empty:
                return
            try:
                put((id, client.complete(body)))
            except Exception as error:  # the main thread raises it
                put((id, error))

    for _ in range(min(client.endpoint.concurrency, len(waiting))):
        threading.Thread(target=work, daemon=True).start()
