"""Proof of Attribution: which rows shaped an answer, what that earns, and how anyone checks it."""
