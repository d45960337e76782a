"""The state trie, its proofs, and Merkle trees over files and receipts."""
