"""The node's JSON-RPC interface: one file for each namespace, the transport in server.py."""
