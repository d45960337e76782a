"""Connections between authenticated peers: libp2p with its defects patched, or memory."""
