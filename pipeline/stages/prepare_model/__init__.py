"""The model that training starts from, as safetensors beside its tokenizer."""
