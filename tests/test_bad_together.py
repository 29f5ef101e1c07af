"""Settings that are good by themselves and mean nothing together are refused in a line."""

from typing import Any

import pytest
from refusals import refusal
from snaking import edited

from pipeline.settings.data import Files
from workflow.config.validate import validate


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"weights": {"a": 1, "b": 0}}, "data.examples.weights.b = 0: Input should be greater"),
        ({"weights": {"a": 1}}, "weights: none for source b; allowed: one for each of a, b"),
        ({"weights": {"a": 1, "c": 1}}, "weights: no source c; allowed: one for each of a, b"),
        ({"sources.b": None}, "sources: 1 is no mixture; allowed: 2 or more"),
        ({"sources.b.wieght": 2}, "data.examples.sources.b.wieght: unknown key"),
        ({"sources.b.train": "no.jsonl"}, "data.examples.sources.b.train = 'no.jsonl': there is"),
        ({"sources.b.test": 150}, "data.examples.sources.b.train = "),
    ],
)
def test_a_mixture_that_does_not_add_up_is_refused(
    tiny: dict[str, Any], change: dict[str, Any], fault: str
):
    files = {"source": "files", "train": tiny["data"]["examples"]["train"]}
    sources = {"a": dict(files), "b": dict(files)}
    examples = edited({"source": "mixture", "sources": sources}, change)
    examples["sources"] = {name: each for name, each in examples["sources"].items() if each}
    assert fault in refusal(tiny, ("data.examples", examples))


def test_too_few_rows_to_hold_out_are_refused_with_their_number(tiny: dict[str, Any]):
    line = refusal(tiny, ("data.examples.validation", 100), ("data.examples.test", 60))
    assert line.startswith("data.examples.train = ")
    assert "it has 150 rows, and holding out 100 for validation and 60 for test leaves none" in line
    examples = {"source": "files", "train": tiny["data"]["examples"]["train"]}
    source = validate(edited(tiny, {"data.examples": examples})).data.examples
    assert isinstance(source, Files)
    assert (source.validation, source.test) == (0.05, 0.1)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            {"teacher_text": {"samples": 2, "sampling": {"temperature": 0}}},
            "teacher_text: samples = 2: at temperature 0 all responses to a prompt are equal",
        ),
        (
            {"evaluation.decoding_seeds": [10, 20]},
            "evaluation.decoding_seeds = [10, 20]: at temperature 0 all of them give the same",
        ),
        (
            {"teacher_text.prompts": 1, "methods.mckd": None},
            "teacher_text.prompts = 1: methods.mckd trains two students on a half of the prompts",
        ),
        (
            {"evaluation.tasks": ["dolly"], "evaluation.few_shot": 5, "data.train_limit": 4},
            "evaluation.few_shot = 5: data.train_limit leaves 4 training examples at most",
        ),
        (
            {"evaluation.tasks": ["dolly"], "evaluation.few_shot": 127},
            "evaluation.few_shot = 127: data.examples has 126 training examples at most; lower it",
        ),
        ({"teacher_cache.splits": ["train"]}, "teacher_cache.splits = ['train']: test is read by"),
        ({"teacher_cache.splits": ["test"]}, "teacher_cache.splits = ['test']: train is read by"),
        ({"teacher_cache.splits": ["test", "test"]}, "teacher_cache: splits: test, test: one is"),
        (
            {"models.narrow": {"source": "layers_of", "model": "wide", "layers": 3}},
            "models.narrow.layers = 3: wide has only 2 layers",
        ),
        ({"grid.0.seeds": [2**31]}, "grid.0.seeds.0 = 2147483648: Input should be less than"),
        (
            {"models.wide": {"source": "path", "path": "a", "digest": "b"}},
            "models.wide.digest: the workflow sets this key; leave it out",
        ),
        (
            {"methods.jsd": {"method": "sft"}},
            "methods.jsd.method = 'sft': jsd is the name of another method",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_means_nothing_is_refused(
    tiny: dict[str, Any], change: dict[str, Any], fault: str
):
    assert any(line.startswith(fault) for line in refusal(edited(tiny, change)).splitlines())
