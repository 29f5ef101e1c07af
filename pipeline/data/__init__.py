"""Training data: sources, examples, splits, tokenization, batches."""
