"""Stake-weighted Simplex: blocks become final by the votes of validators, without I/O."""
