"""Run a search: an engine proposes, workers train, the coordinator decides and records."""
