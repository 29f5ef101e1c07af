"""A GPU's compiler is given whole graphs, and few of them, over batches of changing shapes."""

import json
import os

import forked
import pytest
from graph_counts import FAMILIES, LORA, methods
from pretend_ledger import ROOT

pytestmark = pytest.mark.slow

Counts = dict[str, dict[str, object]]
LOSS_GRAPHS = 3  # of the first number of texts, of others, and one for a first step of its own
BODY_GRAPHS = 4  # one layer serves all: with gradient and without, and a batch of one text


@pytest.fixture(scope="module")
def counted() -> Counts:
    """The counts of all losses and bodies."""
    places = os.environ | {"PYTHONPATH": str(ROOT)}
    done = forked.jobs().run([str(ROOT / "tests" / "graph_counts.py")], ROOT, places)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.xdist_group("graph_counts")
@pytest.mark.parametrize("method", methods())
def test_a_loss_is_one_graph_whatever_the_batch(method: str, counted: Counts):
    counts = counted[f"loss {method}"]
    assert counts["breaks"] == []
    assert 0 < counts["graphs"] <= LOSS_GRAPHS


@pytest.mark.xdist_group("graph_counts")
@pytest.mark.parametrize("name", [*FAMILIES, LORA])
def test_all_layers_of_a_body_share_few_graphs_whatever_the_batch(name: str, counted: Counts):
    counts = counted[f"body {name}"]
    assert counts["breaks"] == []
    # frozen embeddings leave the first layer an input without gradient, a case of its own
    assert 0 < counts["graphs"] <= BODY_GRAPHS + 2 * (name == LORA)


@pytest.mark.xdist_group("graph_counts")
def test_a_function_that_asks_for_a_number_is_counted_as_broken(counted: Counts):
    assert counted["broken"]["breaks"]
