"""Training: rows in, a LoRA adapter out, the same bytes each time."""
