"""A server of a small model with the OpenAI API, and the faults of real ones."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from word_pieces import byte_level


@dataclass
class ModelServer:
    """A model that answers over HTTP; each of `faults` is what one request gets instead."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerBase
    key: str | None = None
    seconds: float = 0.0  # that it takes for an answer
    faults: list[int | str] = field(default_factory=list)  # a status, or the body of a reply
    bodies: list[dict[str, Any]] = field(default_factory=list)  # of the requests that were answered
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, body: dict[str, Any]) -> tuple[str, str]:
        """The text that the model writes, and why it stopped."""
        prompt = body.get("prompt") or "\n".join(each["content"] for each in body["messages"])
        ids = self.tokenizer(prompt, return_tensors="pt")["input_ids"]
        temperature = body["temperature"]
        sampling = {"do_sample": True, "temperature": temperature} if temperature else {}
        with self.lock, torch.no_grad():
            torch.manual_seed(body.get("seed", 0))
            written = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=body["max_tokens"],
                **(sampling or {"do_sample": False}),
            )[0, ids.shape[1] :]
        ended = int(written[-1]) == self.model.config.eos_token_id
        text = self.tokenizer.decode(written, skip_special_tokens=True)
        return text, "stop" if ended else "length"

    @contextmanager
    def running(self) -> Iterator["ModelServer"]:
        """The server on a free port, or on the one that it had."""
        handler = type("Handler", (_Handler,), {"model_server": self})
        server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    model_server: ModelServer

    def do_POST(self) -> None:
        server = self.model_server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(server.seconds)
        sent = self.headers.get("Authorization")
        if server.key is not None and sent != f"Bearer {server.key}":
            self._reply(401, json.dumps({"error": f"unknown key: {sent}"}))
            return
        with server.lock:
            fault = server.faults.pop(0) if server.faults else None
        if isinstance(fault, int):
            self._reply(fault, json.dumps({"error": f"busy; your header was {sent}"}))
            return
        if fault is not None:
            self._reply(200, fault)
            return
        text, reason = server.answer(body)
        choice: dict[str, Any] = {"finish_reason": reason, "text": text}
        if self.path.endswith("/chat/completions"):
            choice = {
                "finish_reason": reason,
                "message": {"role": "assistant", "content": text},
            }
        server.bodies.append(body)
        self._reply(200, json.dumps({"choices": [choice]}))

    def _reply(self, status: int, text: str) -> None:
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.model_server.url}/elsewhere")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        return


def small_server(**options: Any) -> ModelServer:
    """A server of random weights whose texts differ and often end."""
    tokenizer = byte_level()
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.eos_token_id,
    )
    return ModelServer(LlamaForCausalLM(config).eval(), tokenizer, **options)
