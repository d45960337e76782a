"""Rows of a datanet: formats in, one canonical form, hashes, near-duplicates, and the demo's
harvest.
"""
