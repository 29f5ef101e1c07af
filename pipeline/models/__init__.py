"""Models: loading, comparing vocabularies, float32 logits, LoRA, FLOPs."""
