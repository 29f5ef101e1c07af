"""Several sources as one: shares by weight, and no question that another source holds out."""

from collections import Counter
from pathlib import Path

import pytest
from small_tables import gathered, jsonl, rows

from pipeline.settings.data import DataSettings


def mixed(folder: Path, weights: dict[str, float], **settings: object) -> DataSettings:
    """Two files as a mixture: of each, 25 examples are left to train on."""
    sources = {
        name: {
            "source": "files",
            "train": jsonl(folder / f"{name}.jsonl", rows(30, first)),
            "validation": 2,
            "test": 3,
        }
        for name, first in {"even": 0, "odd": 1000}.items()
    }
    examples = {"source": "mixture", "sources": sources, "weights": weights}
    return DataSettings.model_validate({"examples": examples, **settings})


@pytest.mark.parametrize(
    ("weights", "limit", "expected"),
    [
        ({}, None, {"even": 25, "odd": 25}),
        ({"even": 3, "odd": 1}, None, {"even": 25, "odd": 8}),  # 33.3 of 100 have three quarters
        ({"even": 0.2, "odd": 0.6}, None, {"even": 8, "odd": 25}),
        ({"even": 3, "odd": 1}, 8, {"even": 6, "odd": 2}),
        ({"even": 2, "odd": 1}, 10, {"even": 7, "odd": 3}),  # 6.67 and 3.33: the larger remainder
    ],
)
def test_sources_are_mixed_by_weight_and_their_shares_are_on_the_card(
    weights: dict[str, float], limit: int | None, expected: dict[str, int], tmp_path: Path
) -> None:
    settings = mixed(tmp_path, weights, train_limit=limit)
    dataset = gathered(settings)

    counts = Counter(example.source for example in dataset.splits["train"])
    assert counts == expected
    card = dataset.facts["sources"]
    assert isinstance(card, dict)
    assert {name: facts["train"] for name, facts in card.items()} == expected
    shares = {name: facts["share_of_train"] for name, facts in card.items()}
    assert shares == {name: round(n / counts.total(), 4) for name, n in expected.items()}
    for split, each in {"validation": 2, "test": 3}.items():
        held_out = Counter(example.source for example in dataset.splits[split])
        assert held_out == {"even": each, "odd": each}
    assert gathered(settings).splits == dataset.splits
    assert gathered(settings.model_copy(update={"seed": 1})).splits != dataset.splits


def test_what_one_source_holds_out_is_trained_on_from_none(tmp_path: Path) -> None:
    first = jsonl(tmp_path / "a.jsonl", rows(9))
    test = jsonl(tmp_path / "test.jsonl", [*rows(2), *rows(2, 100)])
    sources = {
        "a": {"source": "files", "train": first, "validation": 1, "test": 1},
        "b": {"source": "files", "train": first, "validation": first, "test": test},
    }
    examples = {"source": "mixture", "sources": sources}
    with pytest.raises(ValueError, match=r"^data\.examples\.sources\.a: each of its training"):
        gathered(
            DataSettings.model_validate({"examples": examples | {"weights": {"a": 1, "b": 1}}})
        )

    sources["b"]["validation"] = test
    dataset = gathered(DataSettings.model_validate({"examples": examples}))
    asked = {
        name: {each.instruction for each in dataset.splits["train"] if each.source == name}
        for name in sources
    }
    drawn = {
        each.instruction
        for split in ("validation", "test")
        for each in dataset.splits[split]
        if each.source == "a"
    }
    assert not asked["a"] & {"What is 0?", "What is 1?"}
    assert asked["b"] == {f"What is {n}?" for n in range(9)} - drawn  # its own are kept as given


def test_conversations_that_begin_as_a_held_out_one_does_are_trained_on_from_no_source(
    tmp_path: Path,
) -> None:
    def talk(*texts: str) -> dict[str, object]:
        roles = ["user", "assistant"] * len(texts)
        return {"messages": [{"role": r, "content": c} for r, c in zip(roles, texts, strict=False)]}

    others = [talk(f"What is {n}?", "A number.") for n in range(5)]
    begins = [talk("Why?", "So."), talk("why? ", "So.", "And then?", "Thus.")]
    held_out = [talk("Why?", "Because.", "Really?", "Yes.")]
    sources = {
        "a": {
            "source": "files",
            "train": jsonl(
                tmp_path / "a.jsonl", [*others, talk("Sky?", "Blue.", "Why?", "Light.")]
            ),
            "validation": jsonl(tmp_path / "v.jsonl", held_out),
            "test": jsonl(tmp_path / "t.jsonl", held_out),
        },
        "b": {
            "source": "files",
            "train": jsonl(tmp_path / "b.jsonl", [*others, *begins]),
            "validation": 1,
            "test": 1,
        },
    }
    examples = {"source": "mixture", "sources": sources}
    settings = DataSettings.model_validate({"examples": examples, "template": "chat"})
    dataset = gathered(settings)

    trained = {(each.source, each.instruction) for each in dataset.splits["train"]}
    assert ("a", "user: Sky?\nassistant: Blue.\nuser: Why?") in trained
    assert {asks for source, asks in trained if source == "b"} < {f"What is {n}?" for n in range(5)}


def test_the_error_of_a_source_in_a_mixture_names_it(tmp_path: Path) -> None:
    settings = mixed(tmp_path, {})
    jsonl(tmp_path / "odd.jsonl", [{"instruction": "?", "input": ""}])
    with pytest.raises(
        ValueError, match=r"name the right one in data\.examples\.sources\.odd\.col"
    ):
        gathered(settings)
