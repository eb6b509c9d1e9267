"""Jobs: what is under way, edits, evaluations and traces."""
