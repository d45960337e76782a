"""Learning: rows, training, attribution, serving. It imports runtime only; torch never leaves this
folder.
"""
