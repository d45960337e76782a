"""Commands on datanets: create, contribute, review, publish."""
