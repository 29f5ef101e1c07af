"""Joins the scores of several reports into one leaderboard: a static page and a CSV file."""

import sys
from collections.abc import Sequence
from pathlib import Path

import jinja2

from pipeline import publishing
from pipeline.artifacts import artifact
from pipeline.publishing.merging import merge, tidy
from pipeline.reporting.render.formats import spreadsheet

PAGE, TABLE = "index.html", "leaderboard.csv"
TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader(publishing.__name__, "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def main(*, reports: Sequence[Path], out: Path) -> int:
    """Writes the leaderboard of the reports to a folder."""
    if out.exists() and not (out / TABLE).is_file():
        sys.exit(f"error: {out} is there already and holds no leaderboard: name another folder")
    try:
        leaderboards = merge(reports)
    except ValueError as error:
        sys.exit(f"error: {error}")
    page = TEMPLATES.get_template("leaderboard.html.jinja").render(leaderboards=leaderboards)
    with artifact.atomic_write(out) as folder:
        folder.mkdir()
        (folder / PAGE).write_text(page, encoding="utf-8")
        spreadsheet(tidy(leaderboards)).to_csv(folder / TABLE, index=False)
    print(out / PAGE)
    print(out / TABLE)
    return 0
