"""The items of tasks: how they are gathered from files, folders and the hub, and kept."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer
from small_tasks import DATA, QUESTIONS, instruction_job, lines, lm_eval_job
from stage_commands import job_file, run_stage

from pipeline.artifacts import checksums, schemas
from pipeline.settings.data import ALPACA_WITHOUT_INPUT
from pipeline.settings.evaluation import Evaluation, LocalFiles
from pipeline.stages import prepare_task
from pipeline.tasks import (
    definitions,
    instruction_items,
    lm_eval_documents,
    lm_eval_tasks,
    local_documents,
)
from workflow.grid import evaluations
from workflow.grid.artifact import Artifact


def test_arc_as_ai2_publishes_it_becomes_what_lm_eval_reads(tmp_path: Path):
    job = lm_eval_job("arc_easy", lines(tmp_path / "test.jsonl", QUESTIONS))
    (splits,) = lm_eval_documents.gather(job, [], tmp_path / "kept").documents.values()
    assert splits["test"][1] == {
        "id": "question-1",
        "question": "Which animal says woof?",
        "choices": {"text": ["cat", "dog", "cow", "owl"], "label": ["A", "B", "C", "D"]},
        "answerKey": "B",
    }
    assert len(splits["train"]) == 0  # no examples in the prompt: none are kept


def test_files_with_the_hub_s_own_columns_are_taken_as_they_are(tmp_path: Path):
    rows = [
        {
            "id": "1",
            "question": "Which?",
            "choices": {"text": ["a", "b"], "label": ["A", "B"]},
            "answerKey": "A",
        }
    ]
    path = lines(tmp_path / "test.jsonl", rows)
    documents = local_documents.read([str(path)], definitions.read("arc_easy").columns, None)
    assert documents == rows


def test_labels_stand_in_a_file_beside_the_rows(tmp_path: Path):
    rows = [{"goal": f"g{index}", "sol1": "one", "sol2": "two"} for index in range(3)]
    path, labels = lines(tmp_path / "valid.jsonl", rows), tmp_path / "labels.lst"
    labels.write_text("0\n1\n1\n")
    (splits,) = lm_eval_documents.gather(
        lm_eval_job("piqa", path, labels), [], tmp_path / "kept"
    ).documents.values()
    assert [row["label"] for row in splits["validation"]] == [0, 1, 1]
    labels.write_text("0\n1\none\n")
    with pytest.raises(ValueError, match=r"labels\.lst:3: 'one' is not a whole number"):
        lm_eval_documents.gather(lm_eval_job("piqa", path, labels), [], tmp_path / "kept")
    labels.write_text("0\n1\n")
    with pytest.raises(ValueError, match="2 lines for 3 documents"):
        lm_eval_documents.gather(lm_eval_job("piqa", path, labels), [], tmp_path / "kept")


def test_answers_that_are_none_of_the_choices_are_said_and_refused_where_all_are(tmp_path: Path):
    rows = [{"goal": f"g{index}", "sol1": "one", "sol2": "two"} for index in range(3)]
    path, labels = lines(tmp_path / "valid.jsonl", rows), tmp_path / "labels.lst"
    labels.write_text("1\n2\n-1\n")
    made = lm_eval_documents.gather(lm_eval_job("piqa", path, labels), [], tmp_path / "kept")
    (line,) = made.warnings
    assert line.startswith("the answers of 2 of 3 documents of piqa are none of their choices")
    as_text = lines(tmp_path / "text.jsonl", [{**row, "label": "1"} for row in rows])
    with pytest.raises(ValueError, match="piqa: the answer of no document is among its choices"):
        lm_eval_documents.gather(lm_eval_job("piqa", as_text), [], tmp_path / "others")


def test_a_raw_text_is_cut_where_articles_begin(tmp_path: Path):
    path = tmp_path / "wiki.test.raw"
    text = [" ", " = One = ", " ", " Text . ", " = = Part = = ", " More .", " = Two = ", " Short"]
    path.write_bytes("\r\n".join(text).encode())
    (splits,) = lm_eval_documents.gather(
        lm_eval_job("wikitext", path), [], tmp_path / "kept"
    ).documents.values()
    pages = [row["page"] for row in splits["test"]]
    assert [page.split("\n")[0] for page in pages] == [" = One = ", " = Two = "]
    assert "Part" in pages[0]
    assert "\r" not in pages[0]
    assert wikitext_detokenizer({"page": pages[1]}).startswith(" = Two =\n")


@pytest.mark.parametrize(
    ("task", "row", "target"),
    [
        ("boolq", {"passage": "A cat.", "question": "is it", "idx": 0, "label": 1}, ["no", "yes"]),
        ("lambada_openai", {"text": "The cat sat on the mat"}, [" mat"]),
        (
            "hellaswag",
            {
                "ind": 1,
                "activity_label": "Cats",
                "ctx_a": "A cat sits.",
                "ctx_b": "it",
                "ctx": "A cat sits. it",
                "endings": ["sleeps", "barks", "flies", "reads"],
                "source_id": "x",
                "split": "val",
                "split_type": "indomain",
                "label": "0",
            },
            ["sleeps", "barks", "flies", "reads"],
        ),
    ],
)
def test_tasks_without_a_definition_take_files_with_lm_eval_s_columns(
    tmp_path: Path, task: str, row: dict[str, Any], target: list[str]
):
    job = lm_eval_job(task, lines(tmp_path / "rows.jsonl", [row, row]))
    assert lm_eval_documents.gather(job, [], tmp_path).count == 2
    loaded = lm_eval_tasks.load(task, lm_eval_tasks.stored(tmp_path), None, "a test").tasks[task]
    document, has_choices = loaded.eval_docs[0], loaded.config.doc_to_choice
    answers = loaded.doc_to_choice(document) if has_choices else [loaded.doc_to_target(document)]
    assert answers == target


def test_a_document_that_does_not_suit_the_task_is_named(tmp_path: Path):
    rows = [{"passage": "A cat.", "query": "is it", "label": 1}]
    with pytest.raises(ValueError, match="'question' is undefined"):
        lm_eval_documents.gather(
            lm_eval_job("boolq", lines(tmp_path / "rows.jsonl", rows)), [], tmp_path / "kept"
        )


def test_examples_in_the_prompt_need_files_of_their_split(tmp_path: Path):
    path = lines(tmp_path / "test.jsonl", QUESTIONS)
    with pytest.raises(ValueError, match="shows 2 examples of the split 'train'"):
        lm_eval_documents.gather(lm_eval_job("arc_easy", path, shots=2), [], tmp_path / "kept")
    both = LocalFiles(files={"evaluation": [str(path)], "train": [str(path)]})
    job = lm_eval_job("arc_easy", path, shots=2, source=both)
    (splits,) = lm_eval_documents.gather(job, [], tmp_path / "kept").documents.values()
    assert len(splits["train"]) == len(QUESTIONS)


def test_documents_are_left_out_by_what_they_list(tmp_path: Path):
    kinds = [["punctuation:no_comma"], ["length_constraints:number_sentences"]]
    rows = [
        {"key": index, "prompt": "Write.", "instruction_id_list": kind, "kwargs": [{}]}
        for index, kind in enumerate(kinds)
    ]
    job = lm_eval_job("ifeval_no_punkt", lines(tmp_path / "rows.jsonl", rows))
    (splits,) = lm_eval_documents.gather(job, [], tmp_path / "kept").documents.values()
    assert [row["key"] for row in splits["train"]] == [0]


def test_instruction_items_have_the_papers_prompt_and_all_references(tmp_path: Path):
    rows = [{"instruction": "Say hi.", "input": "", "output": ["hi", "hello"]}]
    path = lines(tmp_path / "rows.jsonl", rows)
    items = instruction_items.gather(instruction_job("sni", path), [])
    assert items.columns["prompt"] == [ALPACA_WITHOUT_INPUT.format(instruction="Say hi.")]
    assert items.columns["responses"] == [["hi", "hello"]]


def test_an_instruction_file_without_its_column_is_refused_by_the_config_s_key(tmp_path: Path):
    path = lines(tmp_path / "rows.jsonl", [{"instruction": "Say hi.", "reply": "hi"}])
    with pytest.raises(ValueError, match=r"name the right one in evaluation\.data\.dolly\.columns"):
        instruction_items.gather(instruction_job("dolly", path), [])


def test_a_document_that_no_table_can_hold_is_named_by_its_row(tmp_path: Path):
    rows = [
        {"passage": "A cat.", "question": "is it", "idx": index, "label": 1} for index in range(9)
    ]
    rows[6]["idx"] = 10**30
    with pytest.raises(ValueError, match=r"rows\.jsonl, row 7: its values are of other kinds"):
        lm_eval_documents.gather(
            lm_eval_job("boolq", lines(tmp_path / "rows.jsonl", rows)), [], tmp_path / "kept"
        )
    rows[6]["idx"] = "six"
    with pytest.raises(ValueError, match=r"rows\.jsonl, row 7: its values are of other kinds"):
        lm_eval_documents.gather(
            lm_eval_job("boolq", lines(tmp_path / "rows.jsonl", rows)), [], tmp_path / "kept"
        )


def test_wikitext_has_the_62_articles_that_lm_eval_knows():
    path = DATA / "text/wiki.test.raw"
    if not path.is_file():
        pytest.skip("../shared/data is not there")
    definition = definitions.read("wikitext")
    assert len(local_documents.read([str(path)], definition.columns, definition.text)) == 62


def prepare(out: Path, settings: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """The stage on a training split of one example, without a network."""
    data = out.parent / "data"
    data.mkdir()
    names = ("example_id", "instruction", "input", "prompt", "source")
    columns = {name: [QUESTIONS[0]["question"]["stem"]] for name in names}
    schemas.write(data / "train.parquet", columns | {"responses": [["Cats."]]}, schemas.EXAMPLES)
    job = job_file(out.parent / "job.json", out.name, settings, "x")
    offline = {"HF_HUB_OFFLINE": "1"}
    return run_stage("prepare_task", job=job, data=data, out=out, environment=offline)


@pytest.mark.slow
def test_a_task_is_written_whole_with_its_origin(tmp_path: Path):
    path = lines(tmp_path / "test.jsonl", QUESTIONS)
    job = lm_eval_job("arc_easy", path)
    done = prepare(tmp_path / "one", {"task": job.model_dump()})
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "one/task.json").read_text())
    assert card["items"] == len(QUESTIONS)
    assert card["origins"]["arc_easy"]["about"] == str(path)
    assert checksums.read_manifest(tmp_path / "one")["origins"] == card["origins"]
    kept = lm_eval_tasks.read_documents(tmp_path / "one/documents/arc_easy/test.arrow").to_pylist()
    assert [row["id"] for row in kept] == [row["id"] for row in QUESTIONS]


def test_an_unreachable_hub_is_one_line_with_the_way_out(tmp_path: Path):
    settings = Evaluation(tasks=["dolly"])
    (artifact,) = evaluations.tasks(settings, Artifact.of("data", "files", {}))
    done = prepare(tmp_path / "one", artifact.settings)
    assert done.returncode == 2
    assert "MiniLLM/dolly" in done.stderr
    assert "name a local copy in evaluation.data" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "one").exists()


def test_a_folder_laid_out_like_the_hub_s_data_set_serves_in_its_place(tmp_path: Path):
    folder = tmp_path / "ai2_arc"
    (folder / "ARC-Easy").mkdir(parents=True)
    splits = [{"split": split, "path": f"ARC-Easy/{split}.jsonl"} for split in ("train", "test")]
    card = {"configs": [{"config_name": "ARC-Easy", "data_files": splits}]}
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    columns = definitions.read("arc_easy").columns
    rows = local_documents.read([str(lines(tmp_path / "raw.jsonl", QUESTIONS))], columns, None)
    for split in ("train", "test"):
        lines(folder / f"ARC-Easy/{split}.jsonl", rows)
    items = lm_eval_documents.gather(lm_eval_job("arc_easy", folder), [], tmp_path / "kept")
    assert items.counts == {"arc_easy": len(QUESTIONS)}
    assert dict(items.documents["arc_easy"]["test"][2]) == rows[2]


def test_the_digest_is_of_the_items_and_not_of_where_they_are(tmp_path: Path):
    def digest(name: str, rows: list[dict[str, Any]]) -> str:
        job = lm_eval_job("arc_easy", lines(tmp_path / f"{name}.jsonl", rows))
        return prepare_task.write_documents(job, [], tmp_path / f"{name}")["digest"]

    assert digest("one", QUESTIONS) == digest("two", QUESTIONS)
    assert digest("three", QUESTIONS[:-1]) != digest("four", QUESTIONS)


def test_several_tasks_can_not_share_a_file(tmp_path: Path):
    rows = [{"question": "?", "choices": list("wxyz"), "answer": 0}]
    with pytest.raises(ValueError, match="wmdp is several tasks"):
        lm_eval_documents.gather(
            lm_eval_job("wmdp", lines(tmp_path / "rows.jsonl", rows)), [], tmp_path / "kept"
        )
