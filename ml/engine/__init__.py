"""OpenLoRA: one base in memory, many adapters served from it in one batch."""
