"""The commands of `distilbench`, a module each; `main` has their arguments."""
