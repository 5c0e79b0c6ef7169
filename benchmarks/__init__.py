"""Ratios of ours to what a user would run instead; one JSON file per run in ``results/``."""
