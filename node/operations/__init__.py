"""What an operator sets and sees: configuration, names in the data folder, logs, metrics."""
