"""The language model inside one that also reads images or sounds."""

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from pipeline.models import comparison


def extract_text_decoder(model: PreTrainedModel, words: int) -> PreTrainedModel:
    """The part that reads and writes text, as a model of its own; a text model as it is.

    Of its tokenizer's `words`, the last ones that stand for images or sounds get no row: they are
    in no text, and Gemma 3's model for text alone has none for them either.

    Raises: ValueError for a composite whose text part transformers has no class for.
    """
    if model.config.get_text_config() is model.config:
        return model
    part, media = _taken_out(model), _media_tokens(model)
    _check(model.eval(), part.eval(), media)
    while words - 1 in media:
        words -= 1
    part.resize_token_embeddings(min(words, part.config.vocab_size))
    return part


def _taken_out(model: PreTrainedModel) -> PreTrainedModel:
    config = model.config.get_text_config()
    refusal = (
        f"{type(model).__name__} reads more than text, and its text part ({config.model_type}) "
        "can't be taken out; name a model that reads text alone"
    )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(refusal)
    part = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    try:
        part.base_model.load_state_dict(model.get_decoder().state_dict())
    except RuntimeError as error:
        raise ValueError(refusal) from error
    with torch.no_grad():
        part.get_output_embeddings().weight.copy_(model.get_output_embeddings().weight)
    part.generation_config = model.generation_config
    return part


def _media_tokens(model: PreTrainedModel) -> set[int]:
    """Ids that the configuration of a composite names: of images, sounds, their begin and end."""
    return {
        id
        for name, id in model.config.to_dict().items()
        if name.endswith(("token_id", "token_index")) and isinstance(id, int)
    }


def _check(whole: PreTrainedModel, part: PreTrainedModel, media: set[int]) -> None:
    """Raises ValueError if the part gives text other logits than the whole does."""
    texts = comparison.probes(part, barred=media)  # an image's token would need its image
    expected, found = (comparison.own_logits(one, texts) for one in (whole, part))
    comparison.refuse(whole, comparison.beyond("the text part alone", expected, found))
