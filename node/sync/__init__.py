"""How blocks, states and blobs come from peers, and how peers are answered."""
