"""Published numbers: transcribed without error, and beside ours only for the same models."""

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import pytest
import synthetic
import yaml
from report_docs import Documented
from snaking import ROOT, edited

from pipeline.methods.catalogue import METHODS
from pipeline.reporting.analysis.metrics import Measure, metric_named
from pipeline.reporting.analysis.published_numbers import (
    AVERAGE,
    EVIDENCE,
    TASKS,
    Published,
    protocols,
    published,
)
from pipeline.reporting.analysis.scores import Pair, Results, Row, mean_over_seeds
from pipeline.reporting.render import formats
from pipeline.reporting.render.table import MISSING, Table
from pipeline.reporting.sections.published import OURS, published_table
from pipeline.settings.report import ReportSettings
from workflow.config.validate import ConfigError, validate
from workflow.grid.grid import Grid

GPT2 = yaml.safe_load((ROOT / "configs/gpt2_dolly.yaml").read_text())
PAIR = Pair("gpt2_1500m", "gpt2_120m")


def rows_of_sources() -> dict[tuple[str, ...], dict[str, Published]]:
    """The numbers of one method in one table for one pair, by task."""
    rows: dict[tuple[str, ...], dict[str, Published]] = defaultdict(dict)
    for number in published():
        key = (number.source, number.teacher, number.student, number.reported_as, number.evidence)
        assert number.task not in rows[key], f"{key} has {number.task} twice"
        rows[key][number.task] = number
    return rows


def test_stated_averages_are_the_means_of_the_five_tasks():
    stated = [row for row in rows_of_sources().values() if {AVERAGE, *TASKS} <= set(row)]
    assert len(stated) == 9  # SWITCH's seven for the 120M student, two of ABKD's re-run
    for row in stated:
        digits = len(row[AVERAGE].value.partition(".")[2])
        mean = fmean(float(row[task].value) for task in TASKS)
        assert abs(mean - float(row[AVERAGE].value)) <= 0.5 * 10**-digits + 1e-9, row[AVERAGE]


def test_a_row_that_its_paper_prints_twice_is_the_same_here():
    # SWITCH's tables 3 and 4 repeat its GPT-2 120M result on three of the tasks.
    key = ("SWITCH, arXiv:2410.19503, Tables 1, 7 and 8", "openai-community/gpt2-xl")
    row = rows_of_sources()[(*key, "openai-community/gpt2", "SWITCH", "full")]
    assert [row[task].value for task in ("dolly", "selfinst", "sni")] == ["26.2", "13.7", "28.1"]


def test_every_full_table_has_all_its_cells():
    switch = [row for key, row in rows_of_sources().items() if key[0].startswith("SWITCH")]
    # seven methods for each of 3 GPT-2, 3 OPT and 1 OpenLLaMA students, and three teachers
    assert len(switch) == 7 * 7 + 3
    assert all(set(TASKS) <= set(row) for row in switch)


def test_numbers_are_possible_and_know_their_kind():
    for number in published():
        assert 0 < float(number.value) < 100
        assert number.kind in ("authors", "re-run")
        assert number.evidence in EVIDENCE
        assert number.paper


def test_every_method_is_in_the_catalogue_or_known_to_be_in_none():
    for number in published():
        assert number.method in (*METHODS, "teacher", "")
    foreign = {number.reported_as for number in published() if not number.method}
    assert foreign == {"BD", "FDD", "student"}


def test_authors_are_those_of_the_method():
    named = {
        (number.paper, number.reported_as) for number in published() if number.kind == "authors"
    }
    assert all(paper == method for paper, method in named)
    assert {paper for paper, _ in named} == {"MiniLLM", "SWITCH", "ABKD", "BD", "DistiLLM-2"}


def test_what_is_recalled_and_not_read_is_marked():
    recalled = [number for number in published() if number.evidence == "recalled"]
    # MiniLLM's table: the teacher on five tasks, KD and SeqKD on the last two
    assert len(recalled) == 5 + 2 + 2
    assert {number.paper for number in recalled} == {"MiniLLM"}


def test_every_protocol_has_a_configuration_with_its_models():
    shipped = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs").glob("*.yaml")]
    named = {config["protocol"]: validate(config) for config in shipped if config.get("protocol")}
    assert set(named) == set(protocols())


def test_a_protocol_is_no_setting_of_any_artifact(tiny: dict[str, Any]):
    grids = [
        Grid(validate(edited(GPT2, {"protocol": protocol}))) for protocol in (None, "gpt2_dolly")
    ]
    assert set(grids[0].artifacts) == set(grids[1].artifacts)
    assert grids[1].describe()["config"]["protocol"] == "gpt2_dolly"
    assert Grid(validate(tiny)).describe()["config"]["protocol"] is None


def test_an_unknown_protocol_is_answered_with_those_there_are():
    with pytest.raises(ConfigError) as caught:
        validate(edited(GPT2, {"protocol": "gpt3_dolly"}))
    assert str(caught.value).startswith("protocol = 'gpt3_dolly': ")
    assert "allowed: gpt2_dolly, " in str(caught.value)


def test_a_protocol_of_other_models_is_refused_with_theirs(tiny: dict[str, Any]):
    with pytest.raises(ConfigError) as caught:
        validate(edited(tiny, {"protocol": "openllama_dolly"}))
    assert str(caught.value).endswith(
        ": openlm-research/open_llama_7b_v2 to openlm-research/open_llama_3b_v2"
    )


def scored(scores: dict[str, dict[str, tuple[float, ...]]], pair: Pair = PAIR) -> Results:
    """Results with these ROUGE-L scores: by method and task, a value for each training seed."""
    measures = {task: Measure(task, metric_named("rouge_l")) for task in TASKS}
    rows = {
        name: Row("teacher", pair.teacher, pair.teacher, name)
        if name == "teacher"
        else Row("method", pair.teacher, pair.student, name)
        for name in scores
    }
    return Results(
        scores=pd.DataFrame(),
        measures=tuple(measures.values()),
        slice_measures=(),
        pairs=(pair,),
        references={pair: tuple(row for row in rows.values() if row.kind == "teacher")},
        methods={pair: tuple(row for row in rows.values() if row.kind == "method")},
        means={
            (rows[name], measures[task]): mean_over_seeds(points)
            for name, by_task in scores.items()
            for task, points in by_task.items()
        },
        runs={},
        items={},
    )


def table_of(results: Results, config: dict[str, Any] = GPT2) -> Table:
    settings = ReportSettings.model_validate(Grid(validate(config)).describe())
    table = published_table(settings, results)
    assert table is not None
    return table


def cells(table: Table, source: str, method: str) -> dict[str, str]:
    """The texts of the line that one source has for one of our rows, by heading."""
    lines = [row for group in table.groups for row in (*group.references, *group.rows)]
    (line,) = (row for row in lines if row[0].text == method and row[1].text.startswith(source))
    titles = [heading.title for heading in table.headings]
    return dict(zip(titles, [cell.text for cell in line], strict=True))


def test_a_published_number_stands_under_ours_with_the_difference():
    table = table_of(scored({"switch": {"dolly": (26.0, 26.8)}}))
    assert cells(table, "this experiment", "switch")["dolly"] == "26.40"
    theirs = cells(table, "SWITCH", "switch")
    assert theirs["dolly"] == "26.2 (+0.20)"  # (26.0 + 26.8) / 2 - 26.2
    assert theirs["selfinst"] == "13.7"  # not measured here: no difference
    assert theirs["By"] == "authors"
    assert theirs["Known from"] == "full paper read"


def test_a_re_run_and_a_recalled_number_are_said_to_be():
    table = table_of(scored({"minillm": {"dolly": (24.0,)}, "teacher": {"sni": (26.0,)}}))
    assert cells(table, "SWITCH", "minillm")["By"] == "re-run"
    assert cells(table, "MiniLLM", "minillm")["By"] == "authors"
    recalled = cells(table, "MiniLLM", "teacher")
    assert recalled["Known from"] == "recalled, not read"
    assert recalled["sni"] == "27.6 (-1.60)"


def test_our_average_is_of_the_five_tasks_seed_by_seed():
    scores = {task: (20.0 + place, 22.0 + place) for place, task in enumerate(TASKS)}
    table = table_of(scored({"distillm": scores}))
    # means over tasks are 22 and 24: mean 23, sample standard deviation √2
    ours = next(row for row in table.groups[0].rows if row[1].text == "this experiment")
    assert (ours[-1].text, ours[-1].spread) == ("23.00", "1.41")
    assert cells(table, "WARD", "distillm")[AVERAGE] == "20.49 (+2.51)"


def test_a_row_under_another_name_meets_its_methods_numbers():
    results = scored({"forward_kl": {"dolly": (23.0,)}, "word_kd": {"dolly": (22.0,)}})
    table = table_of(results)
    assert cells(table, "SWITCH", "forward_kl")["dolly"] == "23.2 (-0.20)"
    assert cells(table, "SWITCH", "word_kd")["dolly"] == "23.2 (-1.20)"


def test_methods_that_were_not_run_here_are_listed_without_a_difference():
    table = table_of(scored({"sft": {"dolly": (23.0,)}}))
    assert cells(table, "ABKD", "ABKD")["unni"] == "29.32"


def test_models_that_are_others_meet_no_number():
    results = scored({"sft": {"dolly": (23.0,)}})
    large = edited(GPT2, {"students.gpt2_120m.model": "gpt2_large"})
    theirs = cells(table_of(results, large), "SWITCH", "sft")
    assert theirs["dolly"] == "25.4 (-2.40)"  # of GPT-2 large, whatever the student is called
    local = {"source": "layers_of", "model": "gpt2_medium", "layers": 12}
    cut = edited(GPT2, {"models.gpt2": local})
    settings = ReportSettings.model_validate(Grid(validate(cut)).describe())
    assert published_table(settings, results) is None


def test_an_experiment_without_a_protocol_has_no_such_table():
    results = scored({"sft": {"dolly": (23.0,)}})
    settings = Grid(validate(edited(GPT2, {"protocol": None}))).describe()
    assert published_table(ReportSettings.model_validate(settings), results) is None
    bare = ReportSettings.model_validate(synthetic.settings(synthetic.Experiment()))
    assert published_table(bare, results) is None


def test_what_was_published_for_other_models_is_left_out_by_name():
    opt = yaml.safe_load((ROOT / "configs/opt_dolly.yaml").read_text())
    results = scored({"sft": {"dolly": (20.0,)}}, Pair("opt_2700m", "opt_125m"))
    table = table_of(results, opt)
    assert "other models: facebook/opt-6.7b to facebook/opt-125m." in table.caption
    assert not any("BD" in row[1].text for group in table.groups for row in group.rows)


def test_the_file_has_every_number_of_the_table_beside_ours():
    table = table_of(scored({"switch": {"dolly": (26.0, 26.8)}}))
    assert "26.2 (+0.20)" in formats.markdown(table)
    assert list(table.data) == Documented.read().files["published"]
    theirs, ours = (table.data[table.data["source"].eq(OURS) == is_ours] for is_ours in (0, 1))
    (row,) = theirs[(theirs["label"] == "switch") & (theirs["task"] == "dolly")].itertuples()
    assert (row.value, row.ours_minus_it) == (26.2, pytest.approx(0.2))
    (row,) = ours.itertuples()
    assert (row.value, row.sd) == (pytest.approx(26.4), pytest.approx(0.8 / 2**0.5))
    shown = [
        cell
        for group in table.groups
        for row in (*group.references, *group.rows)
        for cell in row[4:]
    ]
    assert len(table.data) == sum(cell.text != MISSING for cell in shown)


def test_the_numbers_are_shipped_with_the_package():
    project = (ROOT / "pyproject.toml").read_text()
    assert '"pipeline.reporting.analysis" = [' in project
    assert '"*.csv"' in project
    assert Path(ROOT / "pipeline/reporting/analysis/published_numbers.csv").is_file()
