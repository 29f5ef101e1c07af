"""Several teachers of one student: the mixture of their caches, the choice of one, and the grid."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from players import CPU, VOCABULARY, llama, texts
from snaking import Copy, edited
from test_cache_tiers import cached
from torch import Tensor

from pipeline.data.batch import Batch, collate
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import TeacherSignal, dense, top_k
from pipeline.distributions.mixture import mixture, on_union, uncertainty
from pipeline.settings.experiment import Experiment
from pipeline.settings.teacher import CacheJob, Combination
from pipeline.teacher_cache.combined import CombinedTeacher
from workflow.config.method_checks import resolved_methods
from workflow.config.teacher_checks import combination_faults
from workflow.config.validate import ConfigError, validate
from workflow.grid.grid import Grid
from workflow.jobs.grid_csv import rows as grid_rows

SIZE = 13
NAMES = ["first", "second"]


def logits(seed: int, tokens: int = 20) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(tokens, SIZE, generator=draw, dtype=torch.float64)


def next_ids(tokens: int = 20) -> Tensor:
    return torch.arange(tokens) * 5 % SIZE


def spread_out(signal: TeacherSignal) -> np.ndarray:
    """Probabilities of all tokens, one by one: a bucket is shared equally by those in it."""
    if signal.support.ids is None:
        return signal.log_probs.exp().numpy()
    table = []
    for ids, log_probs in zip(signal.support.ids.tolist(), signal.log_probs.tolist(), strict=True):
        kept = dict(zip(ids, np.exp(log_probs[: len(ids)]), strict=True))
        rest = np.exp(log_probs[len(ids)]) / (SIZE - len(ids)) if len(ids) < SIZE else 0.0
        table.append([kept.get(token, rest) for token in range(SIZE)])
    return np.array(table)


@pytest.mark.parametrize("sizes", [(4, 4), (2, 5), (5, 5, 3), (9, 8), (SIZE, 3)])
def test_a_mixture_is_what_the_shared_out_buckets_give(sizes: tuple[int, ...]) -> None:
    signals = [top_k(logits(seed), next_ids(), k) for seed, k in enumerate(sizes)]
    support, log_probs = on_union(signals, SIZE)
    weights = torch.arange(1.0, len(sizes) + 1, dtype=torch.float64)
    shares = (weights / weights.sum()).expand(20, -1)
    mixed = TeacherSignal(mixture(log_probs, shares), support)

    expected = sum(
        weight * spread_out(signal)
        for weight, signal in zip(shares[0].tolist(), signals, strict=True)
    )
    np.testing.assert_allclose(spread_out(mixed), expected, rtol=1e-6)
    torch.testing.assert_close(mixed.log_probs.exp().sum(-1), torch.ones(20, dtype=torch.float64))
    assert support.next_ids.equal(next_ids())
    assert support.ids.shape[-1] == min(sum(sizes), SIZE)
    assert all(len(set(row)) == len(row) for row in support.ids.tolist())
    for signal in signals:
        assert all(
            set(own) <= set(row)
            for own, row in zip(signal.support.ids.tolist(), support.ids.tolist(), strict=True)
        )


def test_dense_distributions_are_averaged_exactly() -> None:
    signals = [dense(logits(seed), next_ids()) for seed in range(2)]
    support, log_probs = on_union(signals, SIZE)
    shares = torch.full((20, 2), 0.5, dtype=torch.float64)
    expected = (logits(0).softmax(-1) + logits(1).softmax(-1)) / 2
    torch.testing.assert_close(mixture(log_probs, shares).exp(), expected)
    assert support.ids is None


def test_the_gradient_of_a_mixture_is_the_mean_of_the_teachers_gradients() -> None:
    """Forward KL is linear in the teacher but for the teacher's own entropy."""
    signals = [top_k(logits(seed), next_ids(), 4) for seed in range(2)]
    support, log_probs = on_union(signals, SIZE)
    shares = torch.full((20, 2), 0.5, dtype=torch.float64)
    student = logits(7).log_softmax(-1).gather(-1, support.ids).requires_grad_()

    def gradient(teacher: Tensor) -> Tensor:
        rest = torch.log1p(-student.exp().sum(-1, keepdim=True))
        on_support = torch.cat([student, rest], dim=-1)
        return torch.autograd.grad(kl(teacher, on_support).sum(), student)[0]

    mean = (gradient(log_probs[0]) + gradient(log_probs[1])) / 2
    torch.testing.assert_close(gradient(mixture(log_probs, shares)), mean)


def combined(folder: Path, tier: str = "top_k", **keys: Any) -> tuple[CombinedTeacher, Batch]:
    """Two caches of tiny teachers as one teacher."""
    settings = CacheJob(k=6) if tier == "top_k" else CacheJob(tier="hidden")
    if tier == "sampled":
        settings = CacheJob(draws=4)
    caches = []
    for name, spread in zip(NAMES, (0.45, 0.5), strict=True):
        (folder / name).mkdir()
        caches.append(cached(folder / name, settings, llama(len(name), spread=spread)))
    combination = Combination.model_validate({"names": NAMES, **keys})
    sources = {text.example_id: f"part{index % 2}/topic" for index, text in enumerate(texts(20))}
    return CombinedTeacher(caches, combination, sources), collate(texts(20), CPU)


@pytest.mark.parametrize("tier", ["top_k", "hidden", "sampled"])
def test_caches_combine_chunk_by_chunk_as_all_at_once(tier: str, tmp_path: Path) -> None:
    teacher, batch = combined(tmp_path, tier, weights={"second": 3})
    whole = teacher.signal(batch)
    torch.testing.assert_close(whole.log_probs.exp().sum(-1), torch.ones(batch.token_count))
    tokens = batch.texts[0].target_count
    part = teacher.distributions(batch).chunk(slice(0, tokens))
    torch.testing.assert_close(part.log_probs, whole.log_probs[:tokens])
    if tier != "hidden":
        return
    alone = [each.signal(batch).log_probs.exp() for each in teacher.teachers]
    torch.testing.assert_close(whole.log_probs.exp(), (alone[0] + 3 * alone[1]) / 4)


def chosen(teacher: CombinedTeacher, batch: Batch) -> list[int]:
    """The teacher whose distribution stands at each token."""
    signals = [each.distributions(batch).chunk(slice(None)) for each in teacher.teachers]
    _, alone = on_union(signals, VOCABULARY)
    mixed = teacher.signal(batch).log_probs
    same = torch.stack([torch.isclose(each, mixed).all(-1) for each in alone], dim=-1)
    assert same.sum(-1).eq(1).all()
    return same.int().argmax(-1).tolist()


@pytest.mark.parametrize("tier", ["top_k", "hidden"])
def test_the_surer_teacher_is_chosen_for_each_token(tier: str, tmp_path: Path) -> None:
    teacher, batch = combined(tmp_path, tier, combine="most_confident")
    tokens = slice(None) if tier == "hidden" else slice(6)
    signals = [each.signal(batch).log_probs[:, tokens] for each in teacher.teachers]
    surest = torch.stack([each.amax(-1) for each in signals], dim=-1).argmax(-1)
    assert chosen(teacher, batch) == surest.tolist()
    assert 0 < surest.sum() < len(surest)


def test_the_teacher_of_least_entropy_is_chosen_for_each_token(tmp_path: Path) -> None:
    teacher, batch = combined(tmp_path, "hidden", combine="least_entropy")
    signals = [each.signal(batch).log_probs for each in teacher.teachers]
    nats = torch.stack([-(each.exp() * each).sum(-1) for each in signals], dim=-1)
    assert chosen(teacher, batch) == nats.argmin(-1).tolist()
    assert 0 < nats.argmin(-1).sum() < len(nats)


@pytest.mark.parametrize("k", [2, 5, SIZE])
def test_a_teacher_that_is_unsure_of_all_tokens_has_not_the_least_entropy(k: int) -> None:
    """In a bucket of its own most of its probability would look like a single likely token's."""
    scores = [logits(0), torch.zeros_like(logits(0))]
    support, known = on_union([top_k(each, next_ids(), k) for each in scores], SIZE)
    surer, unsure = (uncertainty(each, support, SIZE) for each in known)
    torch.testing.assert_close(unsure, torch.full_like(unsure, np.log(SIZE)))
    shared_out = spread_out(TeacherSignal(known[0], support))
    np.testing.assert_allclose(surer, -(shared_out * np.log(shared_out)).sum(-1), rtol=1e-6)
    assert (surer < unsure).all()


def test_a_text_has_the_teacher_of_its_source(tmp_path: Path) -> None:
    sources = {"part0": "second", "part1/topic": "first"}
    teacher, batch = combined(tmp_path, combine="by_source", sources=sources)
    texts_in_order = [text.example_id for text in batch.texts]
    expected = [
        1 - int(texts_in_order[place].split("-")[1]) % 2 for place in batch.sequence.tolist()
    ]
    assert chosen(teacher, batch) == expected

    lacking = Combination(names=NAMES, combine="by_source", sources={"part0": "second"})
    with pytest.raises(ValueError, match=r"teachers\.sources: none for 'part1/topic'.*part0"):
        replace(teacher, combination=lacking).signal(batch)


def two(tiny: dict[str, Any], rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The tiny experiment with a second teacher."""
    second = {"model": "narrow", "training": {"steps": 20}}
    return edited(tiny, {"teachers.second": second, "methods": rows, **changes})


def test_a_student_of_several_teachers_reads_their_caches_and_is_named_for_them(tiny):
    rows = {"both": {"method": "forward_kl", "teachers": ["large", "second"]}}
    grid = Grid(validate(two(tiny, rows, grid=[{"seeds": [1]}])))
    both = grid.student("both", "small", "large", 1)
    members = [artifact for role, artifact in both.inputs if role == "member"]
    assert sorted(members, key=lambda artifact: artifact.id) == sorted(
        [grid.signals("large"), grid.signals("second")], key=lambda artifact: artifact.id
    )
    assert both.id.startswith("both.small.large.second.s1-")
    assert not {"cache", "teacher"} & dict(both.inputs).keys()
    # the same student stands under each teacher of the grid, as one artifact
    shown = [row for row in grid_rows(grid) if row["method"] == "both"]
    assert {row["teacher"] for row in shown} == {"large", "second"}
    assert len({row["student_id"] for row in shown}) == 1


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"teachers": ["large"]}, ["teachers", "2"]),
        ({"teachers": ["large", "large"]}, ["large", "twice"]),
        ({"teachers": ["large", "third"]}, ["methods.row.teachers", "third", "second"]),
        ({"teachers": ["large", "second"], "teacher": "live"}, ["live", "teacher: cache"]),
        ({"teachers": ["large", "second"], "text": "teacher"}, ["text teacher", "text: gold"]),
        (
            {"teachers": {"names": ["large", "second"], "weights": {"third": 2}}},
            ["third", "second"],
        ),
        (
            {"teachers": {"names": ["large", "second"], "combine": "by_source"}},
            ["sources", "by_source"],
        ),
        (
            {
                "method": "rs_kd",
                "teachers": {"names": ["large", "second"], "combine": "most_confident"},
            },
            ["methods.row.teachers.combine", "weighted"],
        ),
    ],
)
def test_teachers_that_can_not_be_combined_are_refused(tiny, keys: dict[str, Any], words):
    row = {"method": "forward_kl"} | keys
    with pytest.raises(ConfigError) as caught:
        validate(two(tiny, {"row": row}, grid=[{"seeds": [1]}]))
    (line,) = str(caught.value).splitlines()
    assert all(word in line for word in words), line


DOCSTRINGS = {"source": "docstrings", "packages": ["numpy", "pandas"]}
FILE = {"source": "files", "train": "README.md", "columns": {"source": "topic"}}


@pytest.mark.parametrize(
    ("data", "sources", "lacking"),
    [
        (None, ["DATA"], "examples"),
        (DOCSTRINGS, ["numpy"], "pandas"),
        ({"source": "hub", "name": "a/b"}, ["b"], "a/b"),
        (
            {"source": "mixture", "sources": {"code": DOCSTRINGS, "text": FILE}},
            ["code/numpy", "text/one"],
            "code/pandas",
        ),
        (
            {"source": "mixture", "sources": {"code": DOCSTRINGS, "text": FILE}},
            ["code"],
            "text",
        ),
    ],
    ids=["file", "docstrings", "hub", "topic", "part"],
)
def test_a_source_without_a_teacher_is_named_before_any_job(
    tiny: dict[str, Any], data: dict[str, Any] | None, sources: list[str], lacking: str
):
    def faults(named: list[str]) -> list[str]:
        routes = {"names": ["large", "second"], "combine": "by_source"}
        routes["sources"] = dict.fromkeys(named, "second")
        rows = {"row": {"method": "forward_kl", "teachers": routes}}
        config = two(tiny, rows, grid=[{"seeds": [1]}])
        experiment = Experiment.model_validate(
            edited(config, {"data.examples": data}) if data else config
        )
        return list(combination_faults(experiment, resolved_methods(experiment)[0]))

    key = "methods.row.teachers.sources"
    assert f"{key}: none for {lacking}, a source of data.examples; name its teacher" in faults(
        sources
    )
    assert not faults([name for name in [*sources, lacking] if name not in ("DATA", "b")])


@pytest.mark.slow
@pytest.mark.xdist_group("chain")
def test_students_of_two_teachers_from_data_to_scores(chain: Copy, tiny: dict[str, Any]) -> None:
    routed = {"names": ["large", "second"], "combine": "by_source", "sources": {"DATA": "second"}}
    rows = {
        "both": {"method": "forward_kl", "teachers": ["large", "second"]},
        "routed": {"method": "jsd", "teachers": routed},
    }
    (name,) = set(
        pd.read_parquet(next(chain.folder.glob("results/data/*/train.parquet")))["source"]
    )
    routed["sources"] = {name: "second"}
    config = two(tiny, rows, experiment="two_teachers", grid=[{"teachers": ["large"]}])
    config = edited(config, {"evaluation.tasks": ["heldout"]})
    done = chain.snakemake(config, "--cores", "2", "--quiet", preloaded=True)
    assert done.returncode == 0, done.stdout + done.stderr + chain.logs()
    report = chain.folder / "results/two_teachers/report"
    assert {"both", "routed"} <= set(pd.read_parquet(report / "scores.parquet")["method"])
