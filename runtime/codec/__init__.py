"""SCALE from type hints: shapes, generated codecs."""
