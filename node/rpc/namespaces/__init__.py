"""One file for each namespace of the JSON-RPC interface."""
