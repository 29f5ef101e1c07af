"""The blocks that a configuration may have, found by its types."""

from typing import Any, get_args

from pipeline.settings.base import Settings


def blocks(annotation: Any) -> set[type[Settings]]:
    """All blocks within a type."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        fields = [field.annotation for field in annotation.model_fields.values()]
        return {annotation}.union(*map(blocks, fields))
    return set().union(*map(blocks, get_args(annotation)))
