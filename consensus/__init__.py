"""Stake-weighted Simplex consensus arrives here with the cluster; a single node authors alone."""
