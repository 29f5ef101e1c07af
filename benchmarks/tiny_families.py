"""A tiny random model of each family of causal language models that transformers has."""

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

WORDS, END, LAYERS = 97, 2, 4
MOST_PARAMETERS = 3_000_000  # a configuration with more hasn't been made tiny
STIR = 0.1  # fresh norms are one and fresh biases zero: moved so far, each has an effect


def _named(value: object, names: str) -> dict[str, object]:
    return dict.fromkeys(names.split(), value)


# the same sizes under the names that families have for them; a family takes those it knows
SIZES = {
    **_named(WORDS, "vocab_size"),
    **_named(32, "hidden_size n_embd d_model dim emb_dim embedding_size embed_dim"),
    **_named(LAYERS, "num_hidden_layers n_layer num_layers n_layers decoder_layers"),
    **_named(LAYERS, "encoder_layers num_decoder_layers num_encoder_layers"),
    **_named(4, "num_attention_heads n_head n_heads num_heads decoder_attention_heads"),
    **_named(4, "encoder_attention_heads num_decoder_attention_heads num_encoder_attention_heads"),
    **_named(2, "num_key_value_heads num_kv_heads"),
    **_named(64, "intermediate_size ffn_dim n_inner decoder_ffn_dim encoder_ffn_dim d_ff"),
    **_named(32, "moe_intermediate_size shared_expert_intermediate_size word_embed_proj_dim"),
    **_named(32, "moe_shared_expert_intermediate_size lru_width"),
    **_named(8, "head_dim sliding_window state_size qk_nope_head_dim qk_rope_head_dim v_head_dim"),
    **_named(8, "linear_key_head_dim linear_value_head_dim index_head_dim attention_window_size"),
    **_named(8, "chunk_size mamba_chunk_size mamba_d_state"),
    **_named(16, "q_lora_rank kv_lora_rank"),
    **_named(4, "num_experts n_routed_experts num_local_experts moe_num_experts index_n_heads"),
    **_named(4, "linear_num_value_heads"),
    **_named(2, "num_experts_per_tok moe_k linear_num_key_heads"),
    **_named(1, "n_group topk_group first_k_dense_replace"),
    **_named(128, "max_position_embeddings n_positions n_ctx max_seq_len max_target_positions"),
    **_named(END, "bos_token_id eos_token_id pad_token_id"),
    **_named(0.3, "initializer_range init_std"),
    **_named(True, "is_decoder"),
}
# what a family needs besides
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_expand": 2}
LATENT = {"num_key_value_heads": 4, "head_dim": 8}  # attention through a latent of low rank
TURNS = {"layer_types": ["sliding_attention", "full_attention"] * 2}
PER_LAYER = {"vocab_size_per_layer_input": WORDS, "hidden_size_per_layer_input": 8}
GEMMA_4 = TURNS | PER_LAYER | {"per_layer_config": {"1": {"head_dim": 16}, "3": {"head_dim": 16}}}
KIMI = LATENT | {
    "linear_head_dim": 8,
    "linear_num_heads": 4,
    "num_experts_per_token": 2,
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
    "q_lora_rank": None,
}
MORE: dict[str, dict[str, object]] = {
    **dict.fromkeys(("axk1", "axk2", "glm4_moe_lite", "glm_moe_dsa", "minicpm3", "youtu"), LATENT),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "deepseek_v32", "dots3_note_text"), LATENT),
    "bailing_hybrid": KIMI | {"num_expert_group": 1},
    "bamba": MAMBA | {"attn_layer_indices": [1, 3]},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {"rope_parameters": None},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8},
    "gemma3n_text": TURNS
    | PER_LAYER
    | {"num_kv_shared_layers": 2, "laurel_rank": 8, "activation_sparsity_pattern": [0.0] * LAYERS},
    "gemma4_text": GEMMA_4,
    "gemma4_unified_text": GEMMA_4,
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": MAMBA | {"layer_types": ["mamba", "attention"] * 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": KIMI,
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "reformer": {"axial_pos_embds_dim": (16, 16)},
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32},
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "hybrid_layer_ids": [1, 3],
        "mamba_d_state": 8,
        "n_mamba_heads": 8,
        "mamba_headdim": 8,
        "adapter_rank": 4,
    },
    "zaya": {"num_experts_per_tok": 1, "layer_types": ["hybrid"] * LAYERS},
}


def families() -> list[str]:
    """The model types for which transformers has a causal language model."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def config_of(family: str) -> PreTrainedConfig:
    """A configuration of the family, as small as its known sizes make it."""
    kind = CONFIG_MAPPING[family]
    known = kind().to_dict()
    sizes = {name: value for name, value in SIZES.items() if name in known}
    return kind(**sizes | MORE.get(family, {}))


def model_of(family: str) -> PreTrainedModel:
    """A model with random weights, the same each time.

    Raises: ValueError if its configuration isn't tiny, or has another for the text part.
    """
    config = config_of(family)
    text = config.get_text_config()
    if text is not config:
        raise ValueError(f"it reads more than text; its text part is {text.model_type}")
    with torch.device("meta"):
        size = sum(
            weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters()
        )
    if size > MOST_PARAMETERS:
        raise ValueError(f"{size:,} parameters: no tiny configuration is known")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(STIR * torch.randn_like(weight))
    model.config.eos_token_id = model.config.pad_token_id = END
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = END
    return model
