"""Operation of the process: drain, signals, logs, metrics."""
