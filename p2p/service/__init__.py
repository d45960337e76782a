"""The network service of a node: sessions, dialling, sending and receiving."""
