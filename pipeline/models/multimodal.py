"""The language model inside a multimodal one."""

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from pipeline.models import forward_check


def extract_text_decoder(model: PreTrainedModel, tokens: int) -> PreTrainedModel:
    """The text decoder as a model of its own; a text-only model unchanged.

    The last of its tokenizer's tokens get no embedding if they stand for images or sounds: they are
    in no text, and Gemma 3's text-only model has none for them either.

    Raises: ValueError for a multimodal model whose text decoder has no class in transformers.
    """
    if model.config.get_text_config() is model.config:
        return model
    part, media = _extract(model), _media_tokens(model)
    _check(model.eval(), part.eval(), media)
    while tokens - 1 in media:
        tokens -= 1
    part.resize_token_embeddings(min(tokens, part.config.vocab_size))
    return part


def _extract(model: PreTrainedModel) -> PreTrainedModel:
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
    head, original = part.get_output_embeddings(), model.get_output_embeddings()
    assert isinstance(head, torch.nn.Linear)
    assert isinstance(original, torch.nn.Linear)
    with torch.no_grad():
        head.weight.copy_(original.weight)
    part.generation_config = model.generation_config
    return part


def _media_tokens(model: PreTrainedModel) -> set[int]:
    """Ids in a multimodal configuration: of images, of sounds, of their begin and end."""
    return {
        id
        for name, id in model.config.to_dict().items()
        if name.endswith(("token_id", "token_index")) and isinstance(id, int)
    }


def _check(whole: PreTrainedModel, part: PreTrainedModel, media: set[int]) -> None:
    """Raises ValueError if the text decoder's logits are not those of the whole model."""
    texts = forward_check.probe_texts(part, excluded=media)  # an image token would need its image
    expected, actual = (forward_check.forward_logits(model, texts) for model in (whole, part))
    differences = forward_check.logit_differences("the text decoder alone", expected, actual)
    forward_check.refuse_differences(whole, differences)
