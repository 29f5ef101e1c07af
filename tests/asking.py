"""A client of a small server, and what its model writes by itself."""

from typing import Any

import torch
from model_server import ModelServer

from pipeline.generation.endpoint import Client
from pipeline.settings.endpoint import Endpoint

KEY, VARIABLE = "sk-none-may-see", "TEST_ENDPOINT_KEY"
GREEDY = {"max_tokens": 6, "temperature": 0.0}


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
