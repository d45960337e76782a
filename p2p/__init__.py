"""The libp2p network: transport, protocols, and the service that a node uses."""
