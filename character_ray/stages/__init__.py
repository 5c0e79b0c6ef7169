"""Stages: what is asked of an engine, and what becomes of its answers. They know rows, not hardware."""
