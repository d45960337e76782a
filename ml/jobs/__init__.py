"""The executor process: jobs of the chain in, committed files and their hashes out."""
