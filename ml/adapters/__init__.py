"""LoRA adapters as files: their names, shapes and bytes, and the checks of foreign ones."""
