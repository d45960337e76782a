"""Commands that start nodes: dev, demo, devnet, node."""
