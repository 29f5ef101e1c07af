"""What ends a text: the tokens at which the model's own `generate` stops."""

from transformers import PreTrainedModel

from pipeline.data.eos_tokens import token_ids


def end_ids(model: PreTrainedModel) -> tuple[int, ...]:
    """The tokens that end a text of the model's: there may be several, or none at all.

    They stand in its generation config; where that names none, in its config, which has the
    tokenizer's.
    """
    found = model.generation_config.eos_token_id if model.generation_config else None
    if found is None:
        found = model.config.eos_token_id
    return tuple(token_ids(found))
