"""Machine learning: rows, training, attribution, serving.

It imports only runtime; torch is imported here and nowhere else.
"""
