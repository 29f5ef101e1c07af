"""The computation of DistilBench: run as `python -m pipeline STAGE`."""
