"""Commands on clusters of nodes on this machine: devnet, demo."""
