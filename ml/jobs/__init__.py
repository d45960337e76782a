"""The executor process: jobs of the chain in, output files and their hashes out."""
