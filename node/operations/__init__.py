"""What an operator sets and sees: configuration, logs, metrics."""
