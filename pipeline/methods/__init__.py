"""Distillation methods: the catalogue, and how a recipe is put together from its components."""
