"""From a configuration to jobs: everything that knows the grid, paths and Snakemake."""
