"""Jobs: edits, evaluations and traces, from being accepted to having ended."""
