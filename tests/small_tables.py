"""Small tables as people have them, for the tests of what reads them."""

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.examples import RawDataset
from pipeline.settings.data import DataSettings
from pipeline.stages.prepare_data import gather

DOLLY = {"instruction": "instruction", "input": "context", "response": "response"}
Row = dict[str, object]


def rows(count: int, first: int = 0) -> list[Row]:
    return [
        {"instruction": f"What is {n}?", "input": "", "output": f"The number {n}."}
        for n in range(first, first + count)
    ]


def jsonl(path: Path, values: Sequence[Row]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in values))
    return str(path)


def files(train: str, **others: object) -> DataSettings:
    examples = {"source": "files", "train": train, "validation": 2, "test": 3, **others}
    return DataSettings.model_validate({"examples": examples})


def gathered(settings: DataSettings) -> RawDataset:
    return gather(settings)
