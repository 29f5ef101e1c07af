"""The computation of DistilBench: one module a stage, each run as ``python -m pipeline.STAGE``."""
