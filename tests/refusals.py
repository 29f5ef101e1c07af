"""What a configuration is refused with."""

from typing import Any

import pytest
from snaking import edited

from workflow.config.validate import ConfigError, validate


def refusal(config: dict[str, Any], *changes: tuple[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(edited(config, dict(changes)))
    return str(caught.value)
