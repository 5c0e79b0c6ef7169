"""From scores to decisions: a threshold, battles, ratings."""
