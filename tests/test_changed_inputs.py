"""What a job reads of this machine's folders enters its id: edited, it is made anew."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from snaking import edited, of_two_tokens, saved_model

from pipeline.settings.data import Files, Hub
from workflow.config.validate import validate
from workflow.grid.digests import of_examples, of_file, of_folder, of_tree
from workflow.grid.grid import Grid

EMBEDDINGS = np.ones((2**10, 2**10 + 1), dtype=np.float32)  # a row more than 4 MiB


def forget() -> None:
    """Ends what a process remembers of files, as its end does."""
    for remembered in (of_file, of_folder, of_tree):
        remembered.cache_clear()


def weights(folder: Path, **matrices: np.ndarray) -> str:
    """The digest of a model with these matrices behind its embeddings."""
    forget()
    (folder / "config.json").write_text("{}")
    embeddings = {"model.embed_tokens.weight": EMBEDDINGS}
    save_file(embeddings | matrices, folder / "model.safetensors")
    return of_folder(folder)


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("name", ["model.layers.0.q_proj", "model.layers.1.v_proj", "model.norm"])
def test_a_merged_adapter_makes_another_model(tmp_path: Path, name: str, place: int):
    matrices = {
        "model.layers.0.q_proj": np.ones((64, 64), dtype=np.float32),
        "model.layers.1.v_proj": np.ones((128, 128), dtype=np.float32),
        "model.norm": np.ones(16, dtype=np.float32),
    }
    before = weights(tmp_path, **matrices)
    assert weights(tmp_path, **matrices) == before
    matrices[name].flat[place] += 0.5
    assert weights(tmp_path, **matrices) != before


def test_a_folder_in_the_place_of_a_model_of_the_hub_is_known_by_its_files(
    tiny: dict[str, Any], tmp_path: Path
):
    folder = saved_model(tmp_path / "one", {"<end>": 0, "cat": 1})
    named = {"source": "hub", "name": str(folder)}
    config = of_two_tokens(tiny, named)
    forget()
    before = Grid(validate(config)).model("wide", 0)
    forget()
    assert Grid(validate(config)).model("wide", 0) == before
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    forget()
    assert Grid(validate(config)).model("wide", 0) != before


def test_a_model_of_the_hub_keeps_its_id(tiny: dict[str, Any]):
    named = {"source": "hub", "name": "org/model", "revision": "main"}
    config = edited(tiny, {"tokenizer": None, "models.wide": named, "models.narrow": named})
    assert Grid(validate(config)).model("wide", 0).settings == named | {"seed": 0}


def test_a_folder_in_the_place_of_a_data_set_of_the_hub_is_known_by_its_files(
    tiny: dict[str, Any], tmp_path: Path
):
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [f'{{"instruction": "question {n}", "output": "answer {n}"}}\n' for n in range(40)]
    (folder / "train.jsonl").write_text("".join(rows))
    source = {"source": "hub", "name": str(folder), "validation": 4, "test": 4}
    config = edited(tiny, {"data.examples": source})
    forget()
    before = Grid(validate(config)).data()
    forget()
    assert Grid(validate(config)).data() == before
    (folder / "train.jsonl").write_text("".join(rows[1:]))
    forget()
    assert Grid(validate(config)).data() != before
    assert Hub.model_validate(Grid(validate(config)).data().settings["examples"]).digests


def test_a_data_set_of_the_hub_keeps_its_id():
    source = Hub(source="hub", name="org/set")
    assert of_examples(source) == {}
    assert "digests" not in source.model_dump(mode="json")
    assert "digests" in Files(source="files", train="a.jsonl").model_dump(mode="json")
