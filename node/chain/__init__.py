"""The chain as this node knows it: unfinalized blocks, states, epochs, justifications."""
