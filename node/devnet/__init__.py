"""Devnets: clusters of real nodes on this machine, started, hurt and healed by commands and tests.

`Cluster` (cluster.py) is what the commands, the pytest fixture and the scenarios use.
"""
