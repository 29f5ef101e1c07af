"""The last feed-forward network reads the tokens whose states are read, and no others."""

import pytest
import tiny
import torch
from test_attention import FAMILIES, made
from torch import Tensor, nn

from pipeline.data.batch import Text, collate
from pipeline.models.language_model import response_hidden

TEXTS = [Text("a", list(range(3, 9)), [9, 10, 11]), Text("b", [4, 5, 6], [7, 2])]
BATCH = collate(TEXTS, torch.device("cpu"))


class Mixing(nn.Module):
    """A network whose output at a token depends on the tokens beside it."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.cumsum(-2)


class Counting(nn.Module):
    """A network that notes how many tokens it is given."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.tokens: list[int] = []

    def forward(self, hidden: Tensor) -> Tensor:
        self.tokens.append(hidden.shape[:-1].numel())
        return self.network(hidden)


def expected(model) -> Tensor:
    with torch.no_grad():
        states = model.base_model(input_ids=BATCH.input_ids, use_cache=False).last_hidden_state
    return states.flatten(0, 1)[BATCH.response_positions]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_states_of_response_tokens_are_those_of_the_whole_forward_pass(family: str):
    config, options, _ = FAMILIES[family]
    model = made(config, options).requires_grad_(False)
    torch.testing.assert_close(response_hidden(model, BATCH), expected(model))


def test_the_last_network_of_a_llama_is_given_response_tokens_alone():
    model = tiny.llama(0).requires_grad_(False)
    first, last = (Counting(layer.mlp) for layer in model.model.layers)
    model.model.layers[0].mlp, model.model.layers[1].mlp = first, last
    model.eval()
    with torch.no_grad():
        response_hidden(model, BATCH)
    assert (first.tokens[-1], last.tokens[-1]) == (BATCH.input_ids.numel(), BATCH.token_count)

    with torch.no_grad():  # of a model that learns, states are those of its pass for the gradient
        response_hidden(model.requires_grad_(True), BATCH)
    assert last.tokens[-1] == BATCH.input_ids.numel()


@torch.no_grad()
def test_a_network_that_mixes_tokens_is_given_all_of_them():
    model = tiny.llama(0).requires_grad_(False)
    model.model.layers[-1].mlp = Mixing().eval()
    torch.testing.assert_close(response_hidden(model, BATCH), expected(model))


@torch.no_grad()
def test_nothing_is_left_behind_by_a_pass_that_fails():
    model = tiny.llama(0).requires_grad_(False)
    response_hidden(model, BATCH)
    model.model.norm = None
    with pytest.raises(TypeError):
        response_hidden(model, BATCH)
    assert not model.model.layers[-1].mlp._forward_hooks
