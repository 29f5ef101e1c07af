"""The laws of a loss, for every file in pipeline/losses."""

from collections.abc import Callable

import laws
import pytest

from pipeline import catalog

NAMES = catalog.names("losses")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_every_loss_obeys(law: Callable[[laws.Subject], None], name: str) -> None:
    law(laws.subject(name))
