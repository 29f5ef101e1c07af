"""The teacher cache: one forward pass over the texts, some log-probabilities to Parquet."""
