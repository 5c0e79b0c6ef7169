"""Engines: requests become completions, and completions become scores."""
