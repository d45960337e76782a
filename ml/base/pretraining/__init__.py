"""How the shipped base model was made: corpus, tokenizer, training."""
