"""Rows of a datanet: input formats, the canonical form, hashes, near-duplicates, demo harvest."""
