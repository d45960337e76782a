"""The runtime floor: types, codec, crypto, trie, state, dispatch. Deterministic; imports no other."""
