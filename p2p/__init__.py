"""The libp2p network arrives here with the cluster; a single node speaks JSON-RPC alone."""
