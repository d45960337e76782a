"""The commands of `openledger`: one file for each group. They parse, call the client, and print."""
