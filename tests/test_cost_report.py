"""Who is charged with what, who leads at which budget, and where the order turns."""

from dataclasses import fields, replace

import numpy as np
import pytest
import synthetic

from pipeline.reporting.analysis.load import ReportInputs, read_grid, read_inputs
from pipeline.reporting.analysis.model_sizes import sizes_of
from pipeline.reporting.analysis.scores import Pair, Row, assemble
from pipeline.reporting.costs.attribution import (
    ACCOUNTS,
    IN_FULL,
    OWN,
    Charge,
    charge_of,
    ledger_of,
    total,
)
from pipeline.reporting.costs.books import Books, keep_books
from pipeline.reporting.costs.crossovers import flip_table, flips, turn_of
from pipeline.reporting.costs.equal_budget import equal_cost_table, equal_steps_table
from pipeline.reporting.costs.quality_vs_cost import FLOPS, SECONDS, Course, Race, races
from pipeline.reporting.costs.shared_costs import shared_table
from pipeline.reporting.costs.tables import price_table, token_table
from pipeline.reporting.render import formats
from pipeline.reporting.render.table import MISSING
from pipeline.reporting.sections.costs import cost_plots, cost_tables
from pipeline.runtime.costs import JobCost
from pipeline.runtime.process_pool import InlineExecutor

SMALL = synthetic.Experiment(
    students=("small",),
    methods=("sft", "forward_kl", "gkd", "seqkd"),
    cached=("forward_kl",),
    items=6,
    steps=40,
)
TRAINED = "students/large.forward_kl.small.s1-0a1b2c3d"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    folder = tmp_path_factory.mktemp("results")
    return read_inputs(
        folder, read_grid(synthetic.write(folder, SMALL)), "docs-00000001", InlineExecutor()
    )


@pytest.fixture(scope="module")
def books(inputs: ReportInputs) -> Books:
    return keep_books(inputs, assemble(inputs, {}), sizes_of(inputs))


def values(charge: Charge) -> dict[str, float]:
    return {field.name: getattr(charge, field.name) for field in fields(Charge)}


def close(one: Charge, other: Charge) -> bool:
    return values(one) == pytest.approx(values(other))


def test_over_all_trainings_the_amortised_charges_are_each_job_once(books: Books) -> None:
    once = total(books.ledger.own.values())
    assert close(total(charge for charge in books.ledger.amortised.values() if charge), once)
    jobs = {path.partition("/")[0] for path in books.ledger.own}
    assert jobs == {"students", "starts", "teachers", "caches", "texts"}


def test_in_full_a_training_is_charged_with_all_that_it_was_made_from(books: Books) -> None:
    parts = ("starts/small.start-55556666", "teachers/large-11112222")
    cached = total(
        books.ledger.own[path] for path in (TRAINED, "caches/large.cache-33334444", *parts)
    )
    assert books.ledger.in_full[TRAINED] is not None
    assert close(books.ledger.in_full[TRAINED], cached)
    alone = "students/sft.small.s1-0a1b2c3d"
    needed = total(books.ledger.own[path] for path in (alone, "starts/small.start-55556666"))
    assert books.ledger.in_full[alone] == needed


def test_a_job_is_divided_among_the_trainings_that_use_it(books: Books) -> None:
    users = books.ledger.users
    # of each of two teachers, three methods and two seeds; sft, once, needs none of them
    assert users["teachers/large-11112222"] == 6
    assert users["caches/large.cache-33334444"] == 2
    assert users["texts/middle.texts-44445555"] == 2
    assert users["starts/small.start-55556666"] == 2 * 6 + 2
    own = books.ledger.own
    seconds = (
        own[TRAINED].seconds
        + own["caches/large.cache-33334444"].seconds / 2
        + own["teachers/large-11112222"].seconds / 6
        + own["starts/small.start-55556666"].seconds / 14
    )
    charged = books.ledger.amortised[TRAINED]
    assert charged is not None
    assert charged.seconds == pytest.approx(seconds)


def test_students_that_label_for_another_are_charged_to_it(inputs: ReportInputs) -> None:
    first, last = "students/of_first-1", TRAINED
    made = {
        first: {"inputs": {"start": "starts/small.start-55556666"}},
        "texts/by_student-2": {"inputs": {"teacher": first}},
        last: {"inputs": {"start": "starts/small.start-55556666", "texts-0": "texts/by_student-2"}},
    }
    took = inputs.costs["sft.small.s1-0a1b2c3d"]
    ledger = ledger_of(
        replace(
            inputs,
            manifests={**inputs.manifests, **made},
            costs={**inputs.costs, "of_first-1": took, "by_student-2": took},
        )
    )
    whole, own = ledger.in_full[last], ledger.own[last]
    assert whole is not None
    start = ledger.own["starts/small.start-55556666"]
    assert whole.seconds == pytest.approx(own.seconds + 2 * took.cost.seconds + start.seconds)
    assert ledger.users[first] == 1
    assert close(
        total(charge for charge in ledger.amortised.values() if charge), total(ledger.own.values())
    )


def test_without_the_manifest_of_a_part_only_the_own_cost_is_told(inputs: ReportInputs) -> None:
    manifests = {path: dict(one) for path, one in inputs.manifests.items()}
    manifests[TRAINED] = {"inputs": {"start": "starts/small.start-55556666", "teacher": "lost-1"}}
    kept = keep_books(replace(inputs, manifests=manifests), assemble(inputs, {}), sizes_of(inputs))
    assert kept.ledger.in_full[TRAINED] is None
    row = next(
        row
        for group in price_table(kept).groups
        for row in group.rows
        if group.names[0] == "large" and row[0].text == "forward_kl"
    )
    shown = dict(zip((one.detail for one in price_table(kept).headings), row, strict=True))
    assert shown["in full, s"].text == MISSING
    assert shown["amortised, s"].text == MISSING
    assert shown["own, s"].text != MISSING


def test_the_cost_table_has_the_means_over_seeds(books: Books) -> None:
    table = price_table(books)
    columns = {(one.title, one.detail): place for place, one in enumerate(table.headings)}
    row = next(row for row in table.groups[0].rows if row[0].text == "forward_kl")
    paths = [TRAINED, TRAINED.replace("s1", "s2")]
    for account in ACCOUNTS:
        charges = [account.charges(books.ledger)[path] for path in paths]
        expected = np.mean([charge.flops for charge in charges if charge])
        assert row[columns["FLOPs", account.title]].value == pytest.approx(expected)
    assert ("Energy", "own, J") not in columns  # nothing measured it


def test_energy_has_columns_where_it_was_measured(inputs: ReportInputs) -> None:
    costs = {
        id: replace(job, cost=replace(job.cost, energy_joules=7.0))
        for id, job in inputs.costs.items()
    }
    kept = keep_books(replace(inputs, costs=costs), assemble(inputs, {}), sizes_of(inputs))
    table = price_table(kept)
    place = [(one.title, one.detail) for one in table.headings].index(("Energy", "in full, J"))
    row = next(row for row in table.groups[0].rows if row[0].text == "forward_kl")
    assert row[place].value == 4 * 7.0  # training, start, teacher, cache


def test_the_shared_table_adds_up_to_the_grid_with_evaluations_apart(books: Books) -> None:
    trained, evaluated, everything = shared_table(books).groups
    place = [one.title for one in shared_table(books).headings].index("Time")
    students = sum(one.seconds for path, one in books.ledger.own.items() if "students" in path)
    rows = (*trained.rows, *evaluated.rows)
    shared = sum(row[place].value for row in rows if isinstance(row[place].value, float))
    assert everything.rows[0][place].value == pytest.approx(students + shared)
    # 2 teachers, 2 untrained, 2 started, and 14 trained checkpoints of 21 seconds each
    assert sum(row[place].value for row in evaluated.rows) == pytest.approx(
        21.0 * len(set(books.inputs.grid["eval_id"]))
    )


def course(costs: list[float], nll_nats: list[float]) -> Course:
    return Course(np.array(costs), np.array(nll_nats))


def race(**courses: list[Course]) -> Race:
    """Methods by name, each with a course for the seeds 0, 1 ..."""
    rows = {name: Row("method", "t", "s", name, label=name) for name in courses}
    found = {rows[name]: dict(enumerate(of_name)) for name, of_name in courses.items()}
    return Race(Pair("t", "s"), OWN, SECONDS, found)


def test_a_course_is_linear_between_measurements_and_ends_as_it_was() -> None:
    one = course([10, 20], [4.0, 3.0])
    assert one.at(np.array([9.0, 10, 15, 20, 99]))[1:].tolist() == [4.0, 3.5, 3.0, 3.0]
    assert np.isnan(one.at(np.array([9.0])))[0]


def test_in_full_a_course_begins_where_its_needs_are_paid(books: Books) -> None:
    own, whole = (
        next(one for one in races(books, SECONDS) if one.account is account)
        for account in (OWN, IN_FULL)
    )
    row = next(row for row in own.courses if row.label == "forward_kl")
    needs = books.ledger.in_full[TRAINED]
    assert needs is not None
    before = needs.seconds - books.ledger.own[TRAINED].seconds
    shifted = own.courses[row][1].costs + before
    assert whole.courses[row][1].costs == pytest.approx(shifted)
    assert whole.courses[row][1].costs[-1] == pytest.approx(needs.seconds)


def test_equal_cost_tables_tell_who_is_ahead_at_each_budget(books: Books) -> None:
    table = equal_cost_table(books, FLOPS)
    assert table is not None
    for group, one in zip(table.groups, races(books, FLOPS), strict=True):
        budgets, leaders, _ = group.references
        for place in range(1, len(budgets)):
            budget = np.array([budgets[place].value])
            means = {row.label: one.at(row, budget).mean() for row in one.courses}
            known = {label: mean for label, mean in means.items() if not np.isnan(mean)}
            assert leaders[place].text == min(known, key=lambda label: known[label])
            shown = {row[0].text: row[place].value for row in group.rows}
            for label, mean in means.items():
                assert shown[label] == (None if np.isnan(mean) else pytest.approx(mean))
        ends = sorted(one.ends().values())
        assert budgets[1].value == pytest.approx(ends[0])
        assert budgets[-1].value == pytest.approx(ends[-1])


def test_equal_steps_compare_at_shares_of_the_training(books: Books) -> None:
    table = equal_steps_table(books)
    assert table is not None
    assert [cell.value for cell in table.groups[0].references[0][1:]] == [10, 20, 30, 40]


def test_the_order_turns_where_the_lines_cross() -> None:
    # 3 - x/10 and 2.5: equal at 5; from there on the first is lower
    found = flips(race(late=[course([0, 10], [3.0, 2.0])], early=[course([0, 10], [2.5, 2.5])]))
    assert [(one.first.label, one.then.label) for one in found] == [("early", "late")]
    assert found[0].turn.budget == pytest.approx(5.0)
    assert found[0].lead_before == pytest.approx(0.5)
    assert found[0].lead_after == pytest.approx(0.5)
    assert (found[0].turn.low, found[0].turn.high) == (None, None)  # one seed
    assert (found[0].turn.agreeing, found[0].turn.seeds) == (1, 1)


def test_two_lines_that_never_cross_do_not_turn() -> None:
    assert not flips(race(a=[course([0, 10], [3.0, 2.0])], b=[course([0, 10], [3.1, 2.1])]))


def test_of_several_crossings_the_last_counts() -> None:
    budgets = np.arange(6.0)
    differences = np.array([[1.0, -1.0, 1.0, -3.0, 1.0, 2.0]])
    turn = turn_of(budgets, differences)
    assert turn is not None
    assert turn.budget == pytest.approx(3.75)  # from -3 at 3 to 1 at 4


def test_seeds_that_agree_closely_bound_the_turn() -> None:
    late = [course([0, 2, 4, 6, 8, 10], list(np.linspace(3, 2, 6) + shift)) for shift in (0, 0.01)]
    early = [course([0, 10], [2.5, 2.5]), course([0, 10], [2.5, 2.5])]
    (flip,) = flips(race(late=late, early=early))
    assert flip.turn.budget == pytest.approx(5.05)  # 0.005 nats at 0.1 nats in 10
    assert (flip.turn.low, flip.turn.high) == (4.0, 6.0)


def test_the_interval_of_a_turn_covers_it_as_often_as_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Lines that truly cross at 5, each seed shifted by a normal draw."""
    rng, covered, trials = np.random.default_rng(0), 0, 2000
    budgets = np.linspace(0, 10, 101)
    for _ in range(trials):
        shifts = rng.normal(0, 0.15, (4, 1))
        turn = turn_of(budgets, (budgets - 5) / 10 + shifts)
        assert turn is not None
        low = -np.inf if turn.low is None else turn.low
        high = np.inf if turn.high is None else turn.high
        covered += low < 5.0 < high
    with capsys.disabled():
        print(f"\nturns: {covered / trials:.1%} of intervals at 95 % cover the true budget")
    # of 2000 draws at 95 %, the share has a standard deviation of 0.5 %; ends lie on measurements,
    # so an interval may be wider than it need be
    assert 0.935 <= covered / trials <= 0.985


def test_every_table_and_plot_can_be_written(books: Books) -> None:
    found = cost_tables(books)
    names = [table.name for table in found]
    assert names[:4] == ["cost", "cost_tokens", "cost_shared", "equal_steps"]
    assert set(names[4:]) <= {"equal_seconds", "equal_flops", "flips"}
    for table in found:
        columns = len(table.group_headings) + len(table.headings)
        for line in formats.markdown(table).splitlines():
            assert not line.startswith("|") or line.count(" | ") == columns - 1
        formats.latex(table)
    drawn = [plot.name for plot in cost_plots(books)]
    assert drawn == ["scores_by_seconds", "scores_by_flops", "nll_by_cost"]
    assert token_table(books) in found


def test_without_flops_of_a_student_nothing_is_said_of_its_flops(inputs: ReportInputs) -> None:
    costs: dict[str, JobCost] = {
        id: replace(job, cost=replace(job.cost, flops=None)) if "forward_kl" in id else job
        for id, job in inputs.costs.items()
    }
    kept = keep_books(replace(inputs, costs=costs), assemble(inputs, {}), sizes_of(inputs))
    for one in races(kept, FLOPS):
        assert "forward_kl" not in {row.label for row in one.courses}
    table = equal_cost_table(kept, SECONDS)
    assert table is not None
    assert "forward_kl" in {row[0].text for row in table.groups[0].rows}
    flip_table(kept)


def test_a_charge_has_the_whole_cost_of_its_job(inputs: ReportInputs) -> None:
    job = inputs.costs["large-11112222"]
    cost, charge = job.cost, charge_of(job)
    for field in fields(Charge):
        if field.name != "memory_bytes":
            assert getattr(charge, field.name) == getattr(cost, field.name)
    assert charge.memory_bytes == cost.peak_memory_bytes
