"""``report.json`` and the one self-contained page made from it."""
