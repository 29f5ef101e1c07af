"""Evaluates one checkpoint on all its tasks: held-out measures, then lm-evaluation-harness."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from pipeline import artifacts, cli, schemas
from pipeline.corpus import read_texts
from pipeline.heldout import Item, measure
from pipeline.language_model import default_device, load, load_tokenizer
from pipeline.settings.evaluation import Evaluation
from pipeline.teachers import check_cache, open_cache


def heldout(options: Any, model: Any) -> list[dict[str, Any]]:
    """The measures on the test responses, as rows of ITEMS."""
    teachers = {}
    for cache in options.cache:
        check_cache(cache, options.tokens, model.config.vocab_size)
        teacher = artifacts.read_json(cache / artifacts.MANIFEST)["inputs"]["teacher"]
        teachers[teacher] = open_cache(cache, ["test"])
    texts = read_texts(options.tokens / "test.parquet")
    items = measure(model, texts, teachers, options.micro_batch_tokens)
    return [_row("heldout", item) for item in items]


def _row(task: str, item: Item) -> dict[str, Any]:
    return {"task": task, "slice": "", "decoding_seed": 0, **vars(item)}


def lm_eval_tasks(options: Any, model: Any, settings: Evaluation) -> dict[str, Any]:
    """lm-eval's own results on the generation task, its samples among them."""
    # lm-eval takes seconds to import; a stage that only measures should not wait for it
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    from pipeline import responses
    from pipeline.checkpoint_lm import CheckpointLM

    rows = schemas.read(options.data / "test.parquet", schemas.EXAMPLES).to_pylist()
    asked = {text.example_id for text in read_texts(options.tokens / "test.parquet")}
    chosen = [row for row in rows if row["example_id"] in asked][: settings.items]
    checkpoint = CheckpointLM(model, load_tokenizer(options.model), settings.seed)
    # `simple_evaluate` would run pip and compilers to describe the machine: seconds a checkpoint
    results = evaluate(
        lm=checkpoint,
        task_dict=TaskManager(include_defaults=False).load([responses.task(chosen, settings)]),
        bootstrap_iters=0,  # intervals are made from the items, in the report
    )
    assert results is not None
    for sample in results["samples"][responses.NAME]:
        text = checkpoint.written[sample["doc"]["prompt"]]
        sample["response_tokens"] = len(text.response_ids)
        sample["ended"] = float(text.ended)
    return results


def generation_rows(
    samples: Iterable[dict[str, Any]], settings: Evaluation
) -> list[dict[str, Any]]:
    """The measures of each response, as rows of ITEMS."""
    return [
        {
            "task": "responses",
            "slice": "",
            "decoding_seed": settings.seed if settings.sampling.temperature else 0,
            "example_id": sample["doc"]["example_id"],
            "metric": metric,
            "teacher": "",
            "value": float(sample[metric]),
            "weight": 1.0,
        }
        for sample in samples
        for metric in ("rouge_l", "response_tokens", "ended")
    ]


def outputs(samples: Iterable[dict[str, Any]], settings: Evaluation) -> dict[str, list]:
    """The columns of OUTPUTS."""
    columns: dict[str, list] = {name: [] for name in schemas.OUTPUTS.names}
    for sample in samples:
        doc = sample["doc"]
        row = (
            "responses",
            settings.seed if settings.sampling.temperature else 0,
            doc["example_id"],
            doc["prompt"],
            sample["resps"][0][0],
            doc["responses"],
        )
        for name, value in zip(schemas.OUTPUTS.names, row, strict=True):
            columns[name].append(value)
    return columns


def main() -> None:
    """Writes items, outputs and lm-eval's results of one checkpoint."""
    parser = cli.parser(__doc__)
    for role in ("model", "data", "tokens"):
        parser.add_argument(f"--{role}", type=Path, required=True)
    parser.add_argument("--cache", type=Path, action="append", default=[])
    parser.add_argument("--micro-batch-tokens", type=int, default=16_384)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings, began = Evaluation.model_validate(options.job.settings), time.monotonic()

    model = load(options.model, default_device())
    rows, results, samples = [], {}, []
    if "heldout" in settings.tasks:
        rows += heldout(options, model)
        cli.progress(f"held-out measures: {time.monotonic() - began:.1f} s")
    if "responses" in settings.tasks:
        results = lm_eval_tasks(options, model, settings)
        samples = results["samples"]["responses"]
        rows += generation_rows(samples, settings)
        cli.progress(f"lm-eval: {len(samples)} responses, {time.monotonic() - began:.1f} s")

    with artifacts.whole(Path(options.out)) as folder:
        folder.mkdir()
        columns = {name: [row[name] for row in rows] for name in schemas.ITEMS.names}
        schemas.write(folder / "items.parquet", columns, schemas.ITEMS)
        schemas.write(folder / "outputs.parquet", outputs(samples, settings), schemas.OUTPUTS)
        results.pop("samples", None)  # they are in the two tables, typed
        text = json.dumps(results, indent=1, default=str)  # it holds torch dtypes
        (folder / "results.json").write_text(text)
        inputs = {"model": options.model, "data": options.data, "tokens": options.tokens}
        inputs |= {f"cache-{at}": path for at, path in enumerate(options.cache)}
        artifacts.write_manifest(folder, options.job, inputs, seconds=time.monotonic() - began)


if __name__ == "__main__":
    cli.run(main)
