"""Benchmarks: the costs of this node, measured beside other software doing the same work."""
