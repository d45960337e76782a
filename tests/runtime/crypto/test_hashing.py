from runtime.crypto import hashing


def test_blake2b_gives_the_known_digests() -> None:
    # The empty trie's root is the 256-bit digest of one zero byte.
    assert hashing.blake2b_256(b"\0").hex() == (
        "03170a2e7597b7b7e3d84c05391d139a62b157e78786d8c082f29dcf4c111314"
    )
    assert hashing.blake2b_128(b"").hex() == "cae66941d9efbd404e4d88758ea67670"


def test_twox_gives_the_known_storage_prefixes() -> None:
    assert hashing.twox_128(b"System").hex() == "26aa394eea5630e07c48ae0c9558cef7"
    assert hashing.twox_128(b"Account").hex() == "b99d880ec681799c0cf30e8886371da9"
    assert hashing.twox_64(b"").hex() == "99e9d85137db46ef"


def test_the_wider_twox_digests_begin_with_the_narrower_ones() -> None:
    data = b"state"
    assert hashing.twox_128(data)[:8] == hashing.twox_64(data)
    assert hashing.twox_256(data)[:16] == hashing.twox_128(data)
    assert len(hashing.twox_256(data)) == 32
