"""The stages of the pipeline: one command line each; effects live here."""
