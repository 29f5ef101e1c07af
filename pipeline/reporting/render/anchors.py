"""Addresses within the page: what follows the `#` of a link."""

from urllib.parse import quote

from pipeline.reporting.analysis.scores import Row


def of_cell(row: Row) -> str:
    """The address of the page of a row of the main table."""
    return f"cell/{_path(row.kind, row.teacher, row.student, row.method)}"


def of_method(name: str) -> str:
    """The address of the page of a method, by its name in the grid."""
    return f"method/{_path(name)}"


def of_job(path: str) -> str:
    """The address of the page of the job that made an artifact, by its "stage/id"."""
    return f"job/{quote(path)}"


def _path(*names: str) -> str:
    return "/".join(quote(name, safe="") for name in names)
