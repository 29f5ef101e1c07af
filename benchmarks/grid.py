"""Cells of the demo's grid, by this project and by TRL's trainers with lm-eval's command line.

python -m benchmarks.grid [--config config.yaml] [--cores 1] [--methods sft jsd ..] [--folder DIR]
    [--out grid.json]

A cell is one trained student and its scores: held-out likelihood of the test split, and ROUGE-L of
as many greedy responses as the configuration asks for. Both sides begin from the same data, the
same fine-tuned teacher and the same warmed-up student, have the same batch, steps and optimizer,
and run one process at a time with so many threads as cores. What both need once (data, teacher,
start) is made before and not counted; what one side makes once for several cells (the teacher's
texts on both, its cached signal on ours) is counted in the sum, in rows of their own.

Ours runs as a user runs it, through Snakemake, whose start is in the sum as well. Theirs are the
scripts of `benchmarks.trl_cell`, then `lm_eval` on two tasks written for it. lm-eval measures no
nearness to the teacher, ours does; else the scores are of the same items.

The last row is reckoned, not measured: each cell as often as the whole grid has its method, each
teacher's part as often as there are teachers.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmarks import results
from benchmarks.copies import ROOT, copy_project
from pipeline.artifacts import schemas
from pipeline.settings.evaluation import Evaluation
from workflow.grid.artifact import Artifact
from workflow.jobs.jobs import Jobs

LIBRARIES = ("trl", "lm_eval", "transformers", "torch")
TEACHER, STUDENT, SEED = "large", "narrow", 1
CONFIG = "grid.json"
MEASURED = ("caches", "texts", "students", "evals")
TEXTS, SIGNAL = "the teacher's texts", "the teacher's signal"
SCORING = '''"""ROUGE-L of lm-eval's responses."""

from rouge_score.rouge_scorer import RougeScorer

SCORER = RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l(doc, results):
    return {"rouge_l": 100 * SCORER.score(doc["response"], results[0].strip())["rougeL"].fmeasure}
'''


@dataclass(frozen=True)
class Row:
    """The wall seconds of one part, on either side."""

    what: str
    ours: float
    theirs: float


@dataclass(frozen=True)
class Bench:
    """A copy of the project with the benchmark's experiment."""

    folder: Path
    cores: int
    jobs: Jobs

    def snakemake(self, *targets: str) -> float:
        """Makes these; the seconds that it took."""
        snakemake = [sys.executable, "-m", "snakemake", "--configfile", CONFIG, "--quiet"]
        command = [sys.executable, "-m", "workflow.launch.preloaded", *snakemake]
        return self.run([*command, "--cores", str(self.cores), "--", *targets])

    def run(self, command: Sequence[str]) -> float:
        """The seconds that a command took. Raises ValueError with its last lines if it failed."""
        threads = str(self.cores)
        place = {"OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=self.folder, env=os.environ | place, capture_output=True, text=True
        )
        if done.returncode:
            output = (done.stdout + done.stderr)[-3000:]
            raise ValueError(f"{' '.join(command[:4])} ended with {done.returncode}: {output}")
        return time.monotonic() - began

    def seconds(self, artifact: Artifact) -> float:
        """What Snakemake measured of the job that made an artifact."""
        table = pd.read_csv(
            self.folder / "results/benchmarks" / artifact.stage / f"{artifact.id}.tsv", sep="\t"
        )
        return float(table["s"].sum())


@contextlib.contextmanager
def bench(
    config: dict[str, Any], folder: Path | None, methods: Sequence[str], cores: int
) -> Iterator[Bench]:
    """The project in `folder`, or in one that is gone afterwards."""
    block = {"teachers": [TEACHER], "students": [STUDENT], "seeds": [SEED]}
    config = config | {"experiment": "bench", "grid": [block | {"methods": list(methods)}]}
    with tempfile.TemporaryDirectory() as name:
        place = folder or Path(name)
        copy_project(place)
        (place / CONFIG).write_text(json.dumps(config))
        yield Bench(place, cores, Jobs.of_file(place / CONFIG))


def ours(project: Bench, methods: Sequence[str]) -> tuple[dict[str, float], float]:
    """The seconds of each part, and of the whole run."""
    grid = project.jobs.grid
    students = {name: grid.student(name, STUDENT, TEACHER, SEED) for name in methods}
    scored = {name: grid.evaluations[student] for name, student in students.items()}
    for stage in MEASURED:
        shutil.rmtree(project.folder / "results" / stage, ignore_errors=True)
    whole = project.snakemake(*(evaluation.path for evaluation in scored.values()))
    parts = {
        f"cell {name}": project.seconds(students[name]) + project.seconds(scored[name])
        for name in methods
    }
    made = {"texts": TEXTS, "caches": SIGNAL}
    for artifact in grid.artifacts.values():
        if artifact.stage in made and (project.folder / artifact.path).exists():
            what = made[artifact.stage]
            parts[what] = parts.get(what, 0.0) + project.seconds(artifact)
    return parts, whole


def theirs(project: Bench, methods: Sequence[str]) -> dict[str, float]:
    """The seconds of each part with TRL and lm-eval."""
    grid, peers = project.jobs.grid, project.folder / "peers"
    peers.mkdir(exist_ok=True)
    data, tokens = project.folder / grid.data().path, project.folder / grid.tokens().path
    write_rows(peers / "train.jsonl", data, tokens, "train", None)
    write_tasks(peers, data, tokens, grid.experiment.evaluation)
    teacher, student = (
        str(project.folder / made.path / "model")
        for made in (grid.teacher(TEACHER), grid.start(STUDENT, SEED))
    )
    cell = [sys.executable, "-m", "benchmarks.trl_cell"]
    parts, texts = {}, peers / "texts.jsonl"
    if "seqkd" in methods:
        asked = grid.experiment.teacher_text.prompts
        write_rows(peers / "prompts.jsonl", data, tokens, "train", asked)
        flags = ["--teacher", teacher, "--data", str(peers / "prompts.jsonl"), "--out", str(texts)]
        parts[TEXTS] = project.run([*cell, "texts", *flags])
        print(f"theirs: texts {parts[TEXTS]:.1f} s", flush=True)
    for name in methods:
        out, source = peers / name, texts if name == "seqkd" else peers / "train.jsonl"
        training = grid.experiment.training
        flags = ["--teacher", teacher, "--student", student, "--data", str(source)]
        budget = ["--steps", str(training.steps), "--batch", str(training.batch_size)]
        trained = project.run([*cell, name, *flags, *budget, "--out", str(out)])
        scored = project.run(lm_eval(out, peers))
        parts[f"cell {name}"] = trained + scored
        print(f"theirs: {name} {trained:.1f} s, lm_eval {scored:.1f} s", flush=True)
    return parts


def lm_eval(model: Path, tasks: Path) -> list[str]:
    """lm-eval's command line on one checkpoint."""
    device = "cuda" if shutil.which("nvidia-smi") else "cpu"
    return [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf"),
        *("--model_args", f"pretrained={model},dtype=float32"),
        *("--tasks", "heldout,responses", "--include_path", str(tasks), "--batch_size", "64"),
        *("--device", device, "--output_path", str(model / "scores"), "--log_samples"),
    ]


def write_rows(path: Path, data: Path, tokens: Path, split: str, count: int | None) -> None:
    """Prompts and responses of a split in their fair order: those whose tokens are there."""
    kept = set(schemas.read(tokens / f"{split}.parquet", schemas.TOKENS)["example_id"].to_pylist())
    rows = schemas.read(data / f"{split}.parquet", schemas.EXAMPLES).to_pylist()
    chosen = [row for row in rows if row["example_id"] in kept][:count]
    lines = [
        json.dumps({"prompt": row["prompt"], "response": row["responses"][0]}) for row in chosen
    ]
    path.write_text("".join(f"{line}\n" for line in lines))


def write_tasks(folder: Path, data: Path, tokens: Path, evaluation: Evaluation) -> None:
    """The two tasks as files that lm-eval reads."""
    items = {"heldout": None, "responses": evaluation.items}
    limits = {"until": [], "max_gen_toks": evaluation.max_new_tokens, "do_sample": False}
    kinds: dict[str, dict[str, Any]] = {
        "heldout": {"output_type": "loglikelihood", "metric_list": [_metric("perplexity", False)]},
        "responses": {
            "output_type": "generate_until",
            "generation_kwargs": limits,
            "process_results": "FUNCTION",
            "metric_list": [_metric("rouge_l", True)],
        },
    }
    (folder / "scoring.py").write_text(SCORING)
    for name, kind in kinds.items():
        rows = folder / f"{name}.jsonl"
        write_rows(rows, data, tokens, "test", items[name])
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(rows.resolve())}},
            "test_split": "test",
            "doc_to_text": "{{prompt}}",
            "doc_to_target": "{{response}}",
            "target_delimiter": "",
        } | kind
        text = yaml.safe_dump(task).replace("FUNCTION", "!function scoring.rouge_l")
        (folder / f"{name}.yaml").write_text(text)


def _metric(name: str, better: bool) -> dict[str, Any]:
    aggregation = {"perplexity": "perplexity"}.get(name, "mean")
    return {"metric": name, "aggregation": aggregation, "higher_is_better": better}


def reckoned(rows: Sequence[Row], whole: Jobs) -> Row:
    """What the whole grid would take, if all cells of a method took what one has taken."""
    trained = {cell.model: cell.method for cell in whole.grid.cells if cell.kind == "method"}
    often = Counter(f"cell {method}" for method in trained.values())
    often |= {part: len(whole.grid.experiment.teachers) for part in (TEXTS, SIGNAL)}
    ours = sum(often.get(row.what, 1) * row.ours for row in rows)
    return Row("the whole grid, reckoned", ours, sum(often[row.what] * row.theirs for row in rows))


def table(rows: Sequence[Row]) -> str:
    """The rows as they are printed."""
    lines = [f"{'seconds':<28}{'ours':>10}{'TRL + lm-eval':>16}{'times':>8}"]
    for row in rows:
        times = f"{row.theirs / row.ours:>8.1f}" if row.ours and row.theirs else ""
        lines.append(f"{row.what:<28}{row.ours:>10.1f}{row.theirs:>16.1f}{times}")
    return "\n".join(lines)


def main() -> None:
    """Prints a table, and writes it as JSON."""
    parser = results.parser(__doc__, "grid.json")
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--methods", nargs="+", help="by default all of the configuration")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="goes on in what was prepared there")
    options = parser.parse_args()
    config = yaml.safe_load(options.config.read_text())
    methods = options.methods or list(config["methods"])
    with bench(config, options.folder, methods, options.cores) as project:
        grid = project.jobs.grid
        once = [grid.tokens(), grid.teacher(TEACHER), grid.start(STUDENT, SEED)]
        prepared = project.snakemake(*(artifact.path for artifact in once))
        print(f"prepared for both sides in {prepared:.0f} s", flush=True)
        mine, whole = ours(project, methods)
        print(f"ours: {whole:.1f} s", flush=True)
        peers = theirs(project, methods)
    names = list(dict.fromkeys([*mine, *peers]))
    rows = [Row(name, mine.get(name, 0.0), peers.get(name, 0.0)) for name in names]
    start = Row("starting Snakemake", whole - sum(mine.values()), 0.0)
    in_all = Row("in all", whole, sum(peers.values()))
    rows += [start, in_all, reckoned([*rows, start], Jobs.of_file(options.config))]
    print(table(rows))
    versions = {name: metadata.version(name) for name in LIBRARIES}
    record = {"cores": options.cores, "versions": versions, "rows": rows}
    results.write(options.out, record)


if __name__ == "__main__":
    main()
