"""A byte-level BPE tokenizer, trained on the training split."""
