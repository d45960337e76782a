"""What all commands share: the frame, output, documents, values, signing, sending."""
