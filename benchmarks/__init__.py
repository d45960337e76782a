"""Benchmarks: what this node costs, measured beside what others need for the same work."""
