"""The runtime floor: types, codec, crypto, trie, state, dispatch. Deterministic; on no other."""
