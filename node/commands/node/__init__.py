"""Commands that start one node: dev, node."""
