"""The story of `openledger demo`, on nodes of its own."""
