"""The report stage: what it writes, and a page that trusts nobody."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import synthetic
import yaml
from reports import ATTACK, ODD_NAME, ONE_SEED, SMALL, Made, run
from snaking import ROOT
from synthetic_artifacts import CHECKOUT, MACHINE

from pipeline.artifacts import artifact as artifacts
from pipeline.artifacts.artifact import Job
from pipeline.artifacts.stages import stage_of
from pipeline.methods import components
from pipeline.reporting.analysis.load import read_grid, read_inputs
from pipeline.reporting.analysis.scores import assemble
from pipeline.reporting.page import page
from pipeline.reporting.render.latex import escape_latex
from pipeline.runtime.inert import inert
from pipeline.settings.report import ReportSettings
from pipeline.stages import report
from workflow.commands import outcome
from workflow.commands.console import WIDEST
from workflow.config.validate import validate
from workflow.grid.grid import Grid
from workflow.jobs import grid_csv

pytestmark = [pytest.mark.xdist_group("report"), pytest.mark.slow]
REPOSITORY = f"{CHECKOUT['remote']}/blob/{CHECKOUT['commit']}/"
FORMATS = ("csv", "md", "parquet")


def test_everything_is_written_and_a_summary_is_printed(made: Made) -> None:
    names = {path.name for path in made.folder.iterdir()}
    assert names == {
        "index.html",
        "config.json",
        "provenance.json",
        "manifest.json",
        "outcome.json",
        "scores.parquet",
        "tables",
        "plots",
        "paper",
    }
    measures = {path.name for path in (made.folder / "tables").glob("measures.*")}
    assert measures == {"measures.csv", "measures.parquet"}  # no table of the page
    for folder, ends in (("tables", set(FORMATS)), ("plots", {"svg", "pdf", "png"})):
        suffixes: dict[str, set[str]] = {"measures": ends} if folder == "tables" else {}
        for path in (made.folder / folder).glob("*.*"):
            suffixes.setdefault(path.stem, set()).add(path.suffix.removeprefix("."))
        assert len(suffixes) > 3
        assert all(end == ends for end in suffixes.values())
    assert "3 methods, 2 pairs of teacher and student, 2 seeds" in made.output
    assert made.output.rstrip().endswith("report/index.html")


def test_the_terminal_shows_the_best_methods_their_cost_and_the_page_in_few_lines(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome.show(made.folder, "made up: 12 jobs are finished; this run took 5 min")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= outcome.LINES
    assert max(map(len, lines[:-1])) <= WIDEST  # the path may be longer
    assert lines[-1] == f"report: {made.folder / 'index.html'}"
    scores = pd.read_parquet(made.folder / "tables/main.parquet")
    best = scores[scores["is_best"] & (scores["metric"] == "nll_nats")]
    for pair in best[best["kind"] == "method"].itertuples():
        (line,) = [line for line in lines if line.startswith(f"{pair.teacher} → {pair.student} ")]
        assert f"{pair.value:.3f} {pair.label}" in line
    head, body = re.findall(r"<t(?:head|body)>.*?</t(?:head|body)>", made.page, re.DOTALL)[:2]
    assert re.findall(r"<small>(?:<[^>]*>)?(own|in full)", head) == ["own", "in full"]
    (times,) = [line for line in lines if line.startswith("training, own/in full (s): ")]
    for row in re.findall(r"<tr>.*?</tr>", body):
        *_, own, in_full = re.findall(r"<td>(.*?)</td>", row)
        name = re.findall(r">(\w+)</a>", row)[0]
        assert f" {name} {own}/{in_full}" in times


def test_times_that_have_no_room_are_left_out_and_those_of_the_best_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = {"method": "m9", "value": "0.603", "tied": 0, "is_best": True}
    times = [
        {"account": "own", "seconds": {f"m{n}": f"{n}.0" for n in range(40)}},
        {"account": "in full", "seconds": {"m9": "1,234"}},
    ]
    pairs = [{"pair": "large → small", "best": [best]}]
    shown = {"measures": ["NLL ↓"], "pairs": pairs, "verdicts": [], "times": times}
    (tmp_path / outcome.FILE).write_text(json.dumps(shown))
    outcome.show(tmp_path, "")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "training" in line]
    assert line.startswith("training, own/in full (s): m9 9.0/1,234, m0 0.0/–, m1 1.0/–, ")
    assert line.endswith(", …")
    assert len(line) <= WIDEST


def test_a_long_name_is_told_whole_where_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "llama_3_2_3b_instruct → llama_3_2_1b"
    best = {"method": "gkd", "value": "0.603", "tied": 0, "is_best": True}
    shown = {"measures": ["NLL ↓"], "pairs": [{"pair": name, "best": [best]}], "verdicts": []}
    (tmp_path / outcome.FILE).write_text(json.dumps(shown))
    outcome.show(tmp_path, "")
    assert f"{name}  0.603 gkd" in capsys.readouterr().out


def test_the_main_table_can_be_computed_again_from_the_scores(made: Made) -> None:
    scores = pd.read_parquet(made.folder / "scores.parquet")
    table = pd.read_parquet(made.folder / "tables/main.parquet")
    measured = ["teacher", "student", "method", "task", "slice", "metric"]
    expected = scores.groupby(measured)["value"].agg(["mean", "std"])
    students = table["student"].mask(table["kind"] == "teacher", table["teacher"])
    cells = table.assign(student=students).set_index(measured)[["value", "sd"]]
    # 2 pairs x 3 methods, untrained and start with 7 measures each, and the teacher with 5
    assert len(cells) == 2 * (5 * 7 + 5)
    assert cells["value"].to_numpy() == pytest.approx(expected.loc[cells.index, "mean"].to_numpy())
    spreads = expected.loc[cells.index, "std"].to_numpy()
    assert cells["sd"].to_numpy() == pytest.approx(spreads, abs=1e-12, nan_ok=True)


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
    means = assemble(inputs).means
    floors = [mean for (row, _), mean in means.items() if row.kind == "untrained"]
    assert {mean.seed_count for mean in floors} == {1}
    assert {mean.spread for mean in floors} == {None}


class Text(HTMLParser):
    """Collects the text of a page, and what its elements refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "srcset")]
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.ids |= {value or "" for name, value in attrs if name == "id"}
        assert tag != "link", "a style sheet from elsewhere"
        assert not any(name.startswith("on") for name, _ in attrs), "a script in an attribute"


def read(page: str) -> Text:
    parser = Text()
    parser.feed(page)
    return parser


def test_what_a_model_wrote_and_what_a_user_named_are_escaped(one_seed: Made) -> None:
    assert ATTACK not in one_seed.page
    assert "<img src=x" not in one_seed.page
    assert ODD_NAME not in one_seed.page
    assert ODD_NAME in "".join(read(one_seed.page).text)
    assert inert(ATTACK) in one_seed.data("samples-data")["texts"]


def test_no_data_can_end_the_script_element_that_it_stands_in() -> None:
    value = {"a": "</script><!-- <script>", "b": ["<"]}
    text = page.data(value)
    assert "<" not in text
    assert json.loads(text) == value


def test_the_page_needs_no_other_file_and_its_links_lead_somewhere(made: Made) -> None:
    parsed = read(made.page)
    assert len(parsed.sources) == len(list((made.folder / "plots").rglob("*.svg")))
    assert all(source.startswith("data:image/svg+xml,") for source in parsed.sources)
    jobs = made.data("jobs-data")["artifacts"]
    for link in parsed.links:
        if link.startswith("#job/"):
            assert link.removeprefix("#job/") in jobs
        elif link.startswith("#"):
            assert link[1:] in parsed.ids
        elif link.startswith(REPOSITORY):
            assert (ROOT / link.removeprefix(REPOSITORY)).is_file()
        else:
            assert (made.folder / link).is_file()


def test_every_cell_and_every_method_has_a_page_to_read_without_scripts(made: Made) -> None:
    ids = read(made.page).ids
    rows = pd.read_csv(made.folder / "tables/main.csv", keep_default_na=False)
    for row in rows.to_dict("records"):
        student = row["teacher"] if row["kind"] == "teacher" else row["student"]
        assert f"cell/{row['kind']}/{row['teacher']}/{student}/{row['method']}" in ids
    assert {f"method/{name}" for name in SMALL.methods} <= ids


def test_every_artifact_behind_the_report_is_told_of_with_what_it_was_made_from(made: Made) -> None:
    told = made.data("jobs-data")
    stages = ("evals", "students", "starts", "teachers", "caches", "tokens", "data")
    for stage in stages:
        for folder in (made.results / stage).iterdir():
            artifact = told["artifacts"][f"{stage}/{folder.name}"]
            manifest = artifacts.read_json(folder / "manifest.json")
            assert told["settings"][artifact["settings"]] == manifest["settings"]
            assert told["versions"][artifact["versions"]] == manifest["versions"]
            assert told["machine"][artifact["machine"]] == MACHINE
            assert told["checkout"][artifact["checkout"]] == CHECKOUT
            assert artifact["stage"] == stage_of(stage, manifest["settings"])
            assert (ROOT / f"pipeline/stages/{artifact['stage']}.py").is_file()
            ids = [path.partition("/")[2] for path in artifact["inputs"].values()]
            assert ids == list(manifest["inputs"].values())
            assert set(artifact["inputs"].values()) <= set(told["artifacts"])


def test_a_method_has_its_formula_and_a_link_to_its_file_where_the_commit_has_it(
    made: Made,
) -> None:
    text = "".join(read(made.page).text)
    assert components.formula("losses", "jsd") in text
    links = {link for link in read(made.page).links if link.startswith(REPOSITORY)}
    assert f"{REPOSITORY}pipeline/data_policies/fixed.py" in links
    assert f"{REPOSITORY}pipeline/losses/jsd.py" not in links  # it was edited


def test_the_page_says_when_where_and_from_which_commit(made: Made) -> None:
    text = "".join(read(made.page).text)
    assert "v0.1.0-7-g0123456, 2 files changed" in text
    assert "node7: EPYC, 16 cores, 64 GiB" in text
    assert "2026-11-23" in text


def test_the_page_has_the_command_that_makes_each_student_again(made: Made) -> None:
    text = "".join(read(made.page).text)
    config = "results/demo/report/config.json"
    for student in (made.results / "students").iterdir():
        make = f"distilbench stage results/students/{student.name} --configfile {config}"
        assert make in text


def test_latex_shows_special_characters_literally() -> None:
    assert escape_latex("JSD_β <b> 50% & $x_1^2 #{~}\\ 猫") == (
        r"JSD\_$\beta$ \textless{}b\textgreater{}"
        r" 50\% \& \$x\_1\textasciicircum{}2 \#\{\textasciitilde{}\}\textbackslash{}"
        " (cjk unified ideograph-732b)"
    )


def test_the_stage_ends_a_bad_input_with_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    grid = synthetic.write(tmp_path, ONE_SEED)
    (tmp_path / "data/docs-00000001/card.json").unlink()
    done = run(tmp_path, ONE_SEED)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (grid.parent / "report").exists()


def test_the_same_results_make_the_same_report_byte_for_byte(
    one_seed: Made, tmp_path: Path
) -> None:
    grid = read_grid(one_seed.results / "demo/grid.csv")
    job = Job("demo.report-12345678", "0011", synthetic.settings(ONE_SEED))
    settings = ReportSettings(**synthetic.settings(ONE_SEED))
    inputs = read_inputs(one_seed.results, grid, "docs-00000001")
    (tmp_path / "again").mkdir()
    report.write_report(tmp_path / "again", job, settings, inputs)
    for path in (tmp_path / "again").rglob("*.*"):
        same = one_seed.folder / path.relative_to(tmp_path / "again")
        assert path.read_bytes() == same.read_bytes()


@pytest.mark.parametrize("file", ["config.yaml", "configs/smollm2.yaml", "configs/gpt2_dolly.yaml"])
def test_the_configuration_beside_a_report_is_the_experiments_own(file: str) -> None:
    config = yaml.safe_load((Path(__file__).parent.parent / file).read_text())
    grid = Grid(validate(config))
    settings = ReportSettings.model_validate(json.loads(json.dumps(grid.describe())))
    again = Grid(validate(json.loads(page.configuration(settings))))
    assert list(again.artifacts) == list(grid.artifacts)
    assert grid_csv.rows(again) == grid_csv.rows(grid)
