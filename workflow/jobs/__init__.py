"""What Snakemake's rules look up: inputs, settings and code digests of a job."""
