"""The laws of a loss, for every file in pipeline/losses."""

import ast
from collections.abc import Callable

import laws
import pytest
import references
import tiny
import torch

from pipeline import catalog
from pipeline.methods import METHODS
from pipeline.training import distill

NAMES = catalog.names("losses")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_every_loss_obeys(law: Callable[[laws.Subject], None], name: str) -> None:
    law(laws.subject(name))
