"""What the operator of a process needs: drain, signals, logs, metrics."""
