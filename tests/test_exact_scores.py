"""The exact scores of a teacher in another vocabulary: what methods over spans are measured by."""

import math
import re
from itertools import accumulate

import exact_scores
import pytest
from snaking import ROOT

TABLE = re.compile(r"^\| (.+) \| (-?\d\.\d\d) \| (\d+\.\d+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[float, float]]:
    return exact_scores.measured()


def test_a_teacher_s_texts_add_up() -> None:
    total = exact_scores.world().teacher_weights.sum().item()
    assert total == pytest.approx(1)
    for row in exact_scores.exact_rows().values():
        assert row.exp().sum().item() == pytest.approx(1)


def covers(prefix: exact_scores.Encoding) -> set[exact_scores.Encoding]:
    """The teacher's shortest encodings whose texts begin with the student's tokens of `prefix`.

    The last token of each reaches over the end of the prefix, or up to it.
    """
    encodings, text = set(), "".join(prefix)
    for longer in exact_scores.texts():
        if exact_scores.by_student(longer)[: len(prefix)] == prefix:
            tokens = exact_scores.by_teacher(longer)
            ends = list(accumulate(map(len, tokens)))
            encodings.add(tokens[: 1 + next(i for i, end in enumerate(ends) if end >= len(text))])
    return encodings


def test_sums_over_covering_encodings_are_sums_over_texts() -> None:
    def of_covers(prefix: exact_scores.Encoding) -> float:
        encodings = covers(prefix) if prefix else [()]
        return sum(math.exp(exact_scores.teacher_log_prob(cover)) for cover in encodings)

    several = 0
    for prefix, row in exact_scores.exact_rows().items():
        for token, log_prob in zip(exact_scores.STUDENT[:-1], row.tolist(), strict=False):
            ratio = of_covers((*prefix, token)) / of_covers(prefix)
            assert ratio == pytest.approx(math.exp(log_prob), abs=1e-12)
            several += len(covers((*prefix, token))) > 1
    assert several > 10


def test_the_whole_world_is_one_that_both_vocabularies_write() -> None:
    here = exact_scores.world()
    assert len(here.student) == len(here.aligned) == 3 + 9 + 27 + 81
    counts = [(text.teacher.target_count, len(text.ends.teacher)) for text in here.aligned]
    assert all(tokens == spans for tokens, spans in counts)  # the student's tokens are parts
    assert any(len(text.ends.student) < text.ends.student[-1] for text in here.aligned)


@pytest.mark.slow
@pytest.mark.xdist_group("exact_scores")
def test_exact_scores_lead_to_the_teacher(measured: dict[str, tuple[float, float]]) -> None:
    start = exact_scores.kl_to_teacher(exact_scores.untrained())
    assert start > 1
    for name in ("forward KL to p\\*", "`opd` on p\\*"):
        assert measured[name] == (pytest.approx(1), pytest.approx(0, abs=0.03))


@pytest.mark.slow
@pytest.mark.xdist_group("exact_scores")
def test_likelihoods_of_spans_come_nearer_than_rows_and_sorted_rows_lead_away(
    measured: dict[str, tuple[float, float]],
) -> None:
    nats = {name: last for name, (_, last) in measured.items()}
    start = exact_scores.kl_to_teacher(exact_scores.untrained())
    assert nats["`opd_spans`, `whole_span`"] < nats["`opd_spans`"] < nats["`gold`"]
    assert nats["`alm`"] < min(nats["`gold`"], nats["`simct`"]) < nats["`sft`"] < start
    assert min(nats["`uld`"], nats["`uld_aligned`"]) > start


@pytest.mark.slow
@pytest.mark.xdist_group("exact_scores")
def test_the_documented_table_is_what_the_command_prints(
    measured: dict[str, tuple[float, float]],
) -> None:
    page = (ROOT / "docs/cross_tokenizer.md").read_text()
    table = {name: (float(cosine), float(nats)) for name, cosine, nats in TABLE.findall(page)}
    assert table.keys() == measured.keys()
    for name, (cosine, nats) in measured.items():
        near = pytest.approx(nats, rel=0.05, abs=0.01)
        assert table[name] == (pytest.approx(cosine, abs=0.02), near)
