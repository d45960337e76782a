"""LoRA adapters as files: their names and shapes, their checks, their content-addressed store."""
