"""The OpenAI-compatible HTTP surface of answers; it knows nothing of models, chains or keys."""
