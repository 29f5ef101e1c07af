"""A published report and some of its students as repositories of the Hugging Face hub.

They are laid out in folders named as the repositories' addresses: `datasets/OWNER/NAME` has the
report, `OWNER/NAME-ID` the student with this id.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import HfApi
from huggingface_hub.utils import validate_repo_id
from transformers import AutoTokenizer

from pipeline.artifacts import artifact, checksums
from pipeline.models.adapter_base import base_of, is_adapter
from pipeline.models.language_model import load, load_tokenizer
from pipeline.publishing.cards import model_card, report_card
from pipeline.publishing.chat_template import chat_template
from pipeline.publishing.finished import FinishedReport
from pipeline.publishing.students import Student, chosen

DATASETS, README = "datasets", "README.md"


@dataclass(frozen=True)
class Repository:
    """A repository, and the folder with its files."""

    name: str  # OWNER/NAME
    kind: str  # as the hub's library names it: model or dataset
    folder: Path


def lay_out(
    published: Path, results: Path, name: str, students: Sequence[str], license: str, out: Path
) -> list[Repository]:
    """Writes the repositories of a published report under `out`, the report's first.

    Raises: ValueError for a name that the hub refuses, a student that there is not, or a damaged or
        missing model, before anything is written.
    """
    report = FinishedReport.read(published)
    selected = chosen(report, students)
    models = {f"{name}-{student.id}": student for student in selected}
    for repository in (name, *models):
        validate_repo_id(repository)
    if "/" not in name:
        raise ValueError(f"{name}: a repository's name is OWNER/NAME")
    for student in selected:
        _check_model(results, student)
    notes = published / README
    with artifact.atomic_write(out / DATASETS / name) as folder:
        shutil.copytree(published, folder)
        text = notes.read_text(encoding="utf-8") if notes.exists() else ""
        report_card(name, report, models, license, text).save(folder / README)
    laid_out = [Repository(name, "dataset", out / DATASETS / name)]
    for repository, student in models.items():
        with artifact.atomic_write(out / repository) as folder:
            _write_model(folder, results, student)
            has_template = (folder / "chat_template.jinja").exists()
            card = model_card(repository, report, name, student, license, has_template)
            card.save(folder / README)
        laid_out.append(Repository(repository, "model", out / repository))
    return laid_out


def upload(repositories: Sequence[Repository], private: bool) -> None:
    """Makes the repositories on the hub where they are missing, and uploads the folders."""
    hub = HfApi()
    for each in repositories:
        hub.create_repo(each.name, repo_type=each.kind, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=each.name,
            repo_type=each.kind,
            folder_path=each.folder,
            commit_message="Publish a DistilBench report",
        )


def _check_model(results: Path, student: Student) -> None:
    folder = results / "students" / student.id
    if not (folder / "model/config.json").is_file():
        raise ValueError(f"{folder / 'model'} is not there: run the experiment again")
    checksums.verify(folder, "model/*")
    if is_adapter(folder):
        base_of(folder)


def write_weights(student: Path, folder: Path) -> None:
    """The model of an artifact, whole: adapters are merged with the weights that were frozen."""
    if not is_adapter(student):
        shutil.copytree(student / "model", folder)
        return
    load(student, torch.device("cpu")).save_pretrained(folder)
    load_tokenizer(student).save_pretrained(folder)


def _write_model(folder: Path, results: Path, student: Student) -> None:
    """The weights, and the tokenizer with a chat template where it can have one."""
    write_weights(results / "students" / student.id, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # a model's own one makes other prompts than those of its training here
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.chat_template = chat_template(tokenizer, student.template)
    tokenizer.save_pretrained(folder)
