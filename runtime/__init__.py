"""The runtime floor: types, codec, crypto, trie, state and dispatch. Deterministic; imports no other floor."""
