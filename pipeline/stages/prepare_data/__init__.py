"""The examples of one source, asked by one template, in three splits with a card."""
