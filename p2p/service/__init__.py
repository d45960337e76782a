"""The network service of a node: sessions, dialling, what is sent to whom."""
