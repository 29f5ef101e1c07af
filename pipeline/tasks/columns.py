"""Columns of ours made from rows of others, by a map that a definition or a configuration holds.

A value of the map says where to look: `a.b` is b inside a, `a[].b` is the list of b of each a. A
block of such values makes a block.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.data.rows import Row
from pipeline.settings.evaluation import ColumnMap


def mapped(rows: Sequence[Row], columns: ColumnMap | None) -> list[dict[str, Any]]:
    """The rows under the names of `columns`; as they are where they have none of its places.

    Raises:
        ValueError: for a row without a place that the map names.
    """
    if columns is None or not _fits(rows[0].values, columns):
        return [row.values for row in rows]
    return [{name: _find(row, where) for name, where in columns.items()} for row in rows]


def _fits(values: Mapping[str, Any], columns: ColumnMap) -> bool:
    """Whether rows like this one are to be mapped; false where they have our columns already."""
    row = Row("", dict(values))
    try:
        for where in columns.values():
            _find(row, where)
    except ValueError:
        return not set(columns) <= set(values)
    return True


def _find(row: Row, where: Any) -> Any:
    if isinstance(where, Mapping):
        return {name: _find(row, one) for name, one in where.items()}
    try:
        return _follow(row.values, where)
    except (KeyError, TypeError, AttributeError):
        there = ", ".join(sorted(row.values)) or "none"
        raise ValueError(
            f"{row.place}: nothing at {where!r}; its columns are {there}; name the right places in "
            "evaluation.data.TASK.columns"
        ) from None


def _follow(value: Any, where: str) -> Any:
    step, _, rest = where.partition(".")
    found = value[step.removesuffix("[]")]
    if step.endswith("[]"):
        return [_follow(one, rest) if rest else one for one in found]
    return _follow(found, rest) if rest else found
