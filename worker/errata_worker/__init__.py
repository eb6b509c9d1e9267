"""The worker: a process that holds the base model and turns queued edits into versions, measures them and traces."""
