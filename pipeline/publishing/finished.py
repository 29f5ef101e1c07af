"""A finished report as a folder holds it: of a run in results/, or published."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import schemas
from pipeline.reporting.analysis import origin
from pipeline.reporting.analysis.provenance import CONFIG, MANIFESTS, SHARED, Manifest, grouped

SCORES, SOURCES = "scores.parquet", "sources.json"


@dataclass(frozen=True)
class FinishedReport:
    """The scores of a report, with what is known of how they were made."""

    folder: Path
    scores: pd.DataFrame
    config: Mapping[str, Any]
    manifests: Mapping[str, Manifest]  # of all artifacts behind it, by "stage/id"
    sources: Mapping[str, list[str]]  # digests of each file of code: ideally one; empty if unknown

    @classmethod
    def read(cls, path: Path) -> "FinishedReport":
        """The report in a folder, or in its folder `report`. Raises ValueError if there is none."""
        folders = [folder for folder in (path, path / "report") if (folder / SCORES).is_file()]
        if not folders:
            raise ValueError(
                f"{path}: there is no {SCORES}, nor in {path / 'report'}: name a folder such as "
                "results/demo or results/published/demo"
            )
        folder = folders[0]
        scores = _scores(folder / SCORES)
        manifests = dict(_manifests(folder / MANIFESTS))
        return cls(folder, scores, _json(folder / CONFIG), manifests, _sources(folder, manifests))

    @property
    def name(self) -> str:
        """The experiment's name."""
        return str(self.config.get("experiment", self.folder.name))

    @cached_property
    def versions(self) -> dict[str, list[str]]:
        """The versions of each library that a job used: ideally one."""
        return grouped(manifest.get("versions", {}) for manifest in self.manifests.values())

    @cached_property
    def machines(self) -> list[str]:
        """The machines that jobs ran on, a line each."""
        return _distinct(origin.machine(each["machine"]) for each in self.manifests.values())

    @cached_property
    def commits(self) -> list[str]:
        """The commits that jobs ran, with the number of files that were changed."""
        return _distinct(origin.commit(each["checkout"]) for each in self.manifests.values())


def _scores(path: Path) -> pd.DataFrame:
    # not by `schemas.read`: it would move a damaged folder away, and this one is only looked at
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} can't be read ({error})") from None
    if not table.schema.equals(schemas.SCORES):
        raise ValueError(f"{path} has other columns than this version's: make the report again")
    return table.to_pandas()


def _sources(folder: Path, manifests: Mapping[str, Manifest]) -> dict[str, list[str]]:
    """What is published with a report; otherwise what runs have recorded beside it in results/."""
    if (folder / SOURCES).is_file():
        return _json(folder / SOURCES)
    records = folder.absolute().parents[1] / "sources"
    codes = _distinct(str(each.get("code", "")) for each in manifests.values())
    files = [path for code in codes if (path := records / f"{code}.json").is_file()]
    return grouped(map(_json, files))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can't be read ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value


def _manifests(path: Path) -> Iterator[tuple[str, Manifest]]:
    """Each artifact's manifest, whole again; what an older report doesn't record is empty."""
    whole = _json(path)
    for artifact, manifest in whole.get("artifacts", {}).items():
        shared = {name: whole[name][manifest[name]] if name in manifest else {} for name in SHARED}
        yield artifact, manifest | shared


def _distinct(texts: Iterator[str]) -> list[str]:
    return sorted({text for text in texts if text})
