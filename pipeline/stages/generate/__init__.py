"""A model's own responses to training prompts: what SeqKD and its kin train on."""
