"""What all commands share: decorators, exit codes, output, documents, values, look-ups, sending."""
