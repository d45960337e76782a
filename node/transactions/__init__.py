"""Transactions that wait for a block, and those that the node sends itself."""
