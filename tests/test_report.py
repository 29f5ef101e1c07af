"""The report stage: what it writes, and a page that trusts nobody."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic

from pipeline import report
from pipeline.artifacts import Job
from pipeline.reporting import formats
from pipeline.reporting.inputs import read_grid, read_inputs
from pipeline.reporting.scores import assemble
from pipeline.settings.report import ReportSettings

SMALL = synthetic.Experiment(
    students=("small",), methods=("sft", "forward_kl", "jsd"), items=12, steps=40
)
DRAWN = (
    "scores_by_method",
    "scores_by_teacher_size",
    "scores_by_seconds",
    "training_curves",
    "training_loss",
)
ATTACK = "<script>alert('x')</script> & <img src=x onerror=alert(1)>"
ONE_SEED = replace(
    SMALL,
    teachers=("large",),
    seeds=(3,),
    output=ATTACK,
    labels={"jsd": "JSD_β"},
)


@dataclass(frozen=True)
class Made:
    """A report as the stage leaves it."""

    results: Path
    folder: Path
    said: str
    page: str


def make(results: Path, experiment: synthetic.Experiment) -> Made:
    grid = synthetic.write(results, experiment)
    folder = grid.parent / "report"
    done = run(results, experiment)
    assert done.returncode == 0, done.stderr
    return Made(results, folder, done.stdout, (folder / "index.html").read_text())


def run(results: Path, experiment: synthetic.Experiment) -> subprocess.CompletedProcess[str]:
    settings = synthetic.settings(experiment)
    job = json.dumps({"id": "demo.report-12345678", "code": "0011", "settings": settings})
    grid = results / experiment.name / "grid.csv"
    out = grid.parent / "report"
    stage = [sys.executable, "-W", "error", "-m", "pipeline.report", job]
    files = ["--grid", str(grid), "--results", str(results), "--out", str(out)]
    root = Path(__file__).parent.parent
    return subprocess.run([*stage, *files], cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("results"), SMALL)


@pytest.fixture(scope="module")
def one_seed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("one_seed"), ONE_SEED)


def test_everything_is_written_and_the_main_table_is_printed(made: Made) -> None:
    names = {str(path.relative_to(made.folder)) for path in made.folder.rglob("*.*")}
    assert names == {
        "index.html",
        "manifest.json",
        "scores.parquet",
        *(f"tables/{name}.{end}" for name in ("main", "cost") for end in ("csv", "md", "tex")),
        *(f"plots/{name}.{end}" for name in DRAWN for end in ("svg", "png")),
    }
    assert made.said.startswith((made.folder / "tables/main.md").read_text())
    assert made.said.rstrip().endswith("report/index.html")


def test_the_main_table_can_be_computed_again_from_the_scores(made: Made) -> None:
    scores = pd.read_parquet(made.folder / "scores.parquet")
    scores["measure"] = scores["task"] + "/" + scores["metric"]
    table = pd.read_csv(made.folder / "tables/main.csv")
    cells = scores.groupby(["teacher", "student", "method", "measure"])["value"].agg(
        ["mean", "std"]
    )
    seen = 0
    for row in table.to_dict("records"):
        teacher_itself = row["kind"] == "teacher"
        student = row["teacher"] if teacher_itself else row["student"]
        for measure, expected in cells.loc[(row["teacher"], student, row["method"])].iterrows():
            assert row[measure] == pytest.approx(expected["mean"])
            spread = row[f"{measure} spread"]
            assert spread == pytest.approx(expected["std"], abs=1e-12, nan_ok=True)
            seen += 1
    # 2 pairs x 3 methods, untrained and start with 6 measures each, and the teacher with 4
    assert seen == 2 * (5 * 6 + 4)


def test_scores_are_weighted_means_of_the_items(made: Made) -> None:
    scores = pd.read_parquet(made.folder / "scores.parquet")
    for score in scores.itertuples():
        items = pd.read_parquet(made.results / "evals" / score.id / "items.parquet")
        rows = items[(items["task"] == score.task) & (items["metric"] == score.metric)]
        rows = rows[rows["teacher"].isin(["", f"{score.teacher}-11112222"])]
        assert score.n == len(rows) == SMALL.items
        assert score.value == pytest.approx(np.average(rows["value"], weights=rows["weight"]))


def test_a_student_shared_by_two_teachers_has_a_divergence_from_each(made: Made) -> None:
    scores = pd.read_parquet(made.folder / "scores.parquet")
    shared = scores[(scores["method"] == "sft") & (scores["metric"] == "kl_to_teacher_nats")]
    assert shared.groupby("id")["teacher"].nunique().eq(2).all()
    values = shared.pivot_table(index="id", columns="teacher", values="value")
    # The tree is made so that a student is 0.3 nats farther from the second teacher.
    assert (values["middle"] - values["large"]).to_numpy() == pytest.approx(0.3)


def test_one_evaluation_under_two_seeds_is_one_run(tmp_path: Path) -> None:
    grid_path = synthetic.write(tmp_path, SMALL)
    grid = pd.read_csv(grid_path)
    untrained = grid[grid["kind"] == "untrained"].assign(seed=2)
    pd.concat([grid, untrained]).to_csv(grid_path, index=False)
    inputs = read_inputs(tmp_path, read_grid(grid_path), "docs-00000001")
    means = assemble(inputs, {}).means
    floors = [mean for (row, _), mean in means.items() if row.kind == "untrained"]
    assert {mean.runs for mean in floors} == {1}
    assert {mean.spread for mean in floors} == {None}


def test_one_seed_has_no_spread_no_mark_and_says_so(one_seed: Made) -> None:
    table = (one_seed.folder / "tables/main.md").read_text()
    assert "One training seed: no number has a spread" in table
    assert "±" not in table
    assert "•" not in table
    assert 'class="marked"' not in one_seed.page
    assert "can't be told from the difference between two trainings" in text_of(one_seed.page)
    assert "Without a spread over seeds" in text_of(one_seed.page)


def test_two_seeds_are_said_to_give_a_rough_spread(made: Made) -> None:
    assert "2 training seeds: a spread over so few is itself uncertain" in made.page


def test_what_a_model_wrote_is_escaped(one_seed: Made) -> None:
    assert "alert('x')</script>" not in one_seed.page
    assert "<img src=x" not in one_seed.page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in one_seed.page
    assert ATTACK in text_of(one_seed.page)


class Text(HTMLParser):
    """Collects the text of a page, and what its elements refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "srcset")]
        self.links += [value or "" for name, value in attrs if name == "href"]
        assert tag != "link", "a style sheet from elsewhere"


def text_of(page: str) -> str:
    parser = Text()
    parser.feed(page)
    return "".join(parser.text)


def test_the_page_needs_no_other_file_and_its_links_lead_somewhere(made: Made) -> None:
    parser = Text()
    parser.feed(made.page)
    assert len(parser.sources) == 5
    assert all(source.startswith("data:image/svg+xml;base64,") for source in parser.sources)
    for link in parser.links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in made.page
        else:
            assert (made.folder / link).is_file()


def test_the_page_has_the_command_that_makes_each_student_again(made: Made) -> None:
    for student in (made.results / "students").iterdir():
        assert f"snakemake --cores all results/students/{student.name}<" in made.page


def test_latex_shows_special_characters_literally(one_seed: Made) -> None:
    table = (one_seed.folder / "tables/main.tex").read_text()
    assert r"JSD\_β" in table
    assert r"forward\_kl" in table
    assert r"test\_responses" in table
    assert formats.escape_latex("50% & $x_1^2 #{~}\\") == (
        r"50\% \& \$x\_1\textasciicircum{}2 \#\{\textasciitilde{}\}\textbackslash{}"
    )


def test_every_row_of_a_latex_table_has_as_many_cells_as_columns(made: Made) -> None:
    lines = (made.folder / "tables/main.tex").read_text().splitlines()
    columns = len(re.search(r"begin\{tabular\}\{(\w+)\}", "\n".join(lines)).group(1))
    rows = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}


def test_the_stage_ends_a_bad_input_with_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    grid = synthetic.write(tmp_path, ONE_SEED)
    (tmp_path / "data/docs-00000001/card.json").unlink()
    done = run(tmp_path, ONE_SEED)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in grid.parent.iterdir()] == ["grid.csv"]


def test_the_same_inputs_give_the_same_report(one_seed: Made, tmp_path: Path) -> None:
    grid = read_grid(one_seed.results / "demo/grid.csv")
    inputs = read_inputs(one_seed.results, grid, "docs-00000001")
    job = Job("demo.report-12345678", "0011", synthetic.settings(ONE_SEED))
    settings = ReportSettings(**synthetic.settings(ONE_SEED))
    report.write_report(tmp_path / "again", job, settings, inputs, assemble(inputs, {}))
    for path in (tmp_path / "again").rglob("*.*"):
        same = one_seed.folder / path.relative_to(tmp_path / "again")
        assert path.read_bytes() == same.read_bytes()
