"""Weights by measurement: each call and hook of each pallet at its worst case."""
