"""Responses that a checkpoint wrote to some questions of a task, on disk until all are written."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import artifact
from pipeline.data.batch import Text

FILE = "responses.json"


def save(folder: Path, places: Sequence[int], texts: Sequence[Text]) -> None:
    """Writes responses with the places of their questions in the task."""
    rows = [
        {"place": place, "response_ids": list(text.response_ids), "ended": text.ended}
        for place, text in zip(places, texts, strict=True)
    ]
    artifact.write_json(folder / FILE, {"responses": rows})


def load(folders: Sequence[Path], prompts: Sequence[str]) -> list[Text]:
    """The responses of all folders, in the order of the questions with these prompts."""
    rows = [row for folder in folders for row in artifact.read_json(folder / FILE)["responses"]]
    by_place = {row["place"]: row for row in rows}
    return [
        Text(prompt, [], by_place[place]["response_ids"], ended=by_place[place]["ended"])
        for place, prompt in enumerate(prompts)
    ]
