"""Whether a model has the positions for the texts that it is to read or to write."""

from collections.abc import Iterable, Sequence

from transformers import PretrainedConfig

from pipeline.data.batch import Text
from pipeline.models.position_limits import max_positions

# Families with a table of positions, or something as finite: beyond it there is nothing to read.
TABLES = ("gpt2", "opt", "gpt_neo", "gpt_bigcode", "gptj", "codegen", "biogpt", "xglm", "mpt")


def of_config(config: PretrainedConfig) -> int | None:
    """Positions of a loaded model; None where nothing limits them."""
    return max_positions(vars(config.get_text_config()))


def check(
    name: object, config: PretrainedConfig, texts: Iterable[Text], new_tokens: int, keys: str
) -> None:
    """Raises ValueError where a model is too short for texts that it is to process or to generate.

    `keys` names what in the configuration makes the texts so long.
    """
    most = of_config(config)
    if most is None:
        return
    lengths = (len(text.prompt_ids) + max(len(text.response_ids), new_tokens) for text in texts)
    if (needed := max(lengths, default=0)) > most:
        raise ValueError(
            f"{name} has {most} positions, and its texts have up to {needed} tokens, prompt and "
            f"response together; lower {keys}"
        )


def check_table(config: PretrainedConfig, prompts: Sequence[Text], new_tokens: int) -> None:
    """Raises ValueError where generation could run past a model's table of positions."""
    if config.model_type in TABLES:
        unanswered = [Text(text.example_id, text.prompt_ids, []) for text in prompts]
        check("the model that writes", config, unanswered, new_tokens, "the number of new tokens")
