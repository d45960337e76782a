"""The node's keys: the encrypted keystore, and the signers of votes."""
