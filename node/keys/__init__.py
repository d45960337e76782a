"""The node's keys: the keystore, the signers of votes, and which folder has the right to vote."""
