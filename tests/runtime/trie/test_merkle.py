"""Merkle trees: proofs hold for what is there and for nothing else."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.codec.scale import codec
from runtime.crypto.hashing import blake2b_256
from runtime.trie.merkle import (
    AMOUNT_MAX,
    CHUNK_SIZE,
    AmountError,
    BlobHasher,
    ChunkCountError,
    LeafIndexError,
    MerkleProof,
    SumProof,
    blob_id,
    blob_id_of_chunks,
    chunk_hash,
    chunk_proof,
    chunks,
    merkle_proof,
    merkle_root,
    sum_proof,
    sum_root,
    verify_chunk,
    verify_merkle,
    verify_sum,
)
from runtime.types.primitives import Hash

LEAVES = st.lists(st.binary(max_size=40), min_size=1, max_size=33)
SUM_LEAVES = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32).map(Hash), st.integers(0, 1 << 100)),
    min_size=1,
    max_size=33,
)


@given(LEAVES, st.data())
def test_every_leaf_has_a_proof_that_verifies(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = merkle_proof(leaves, index)
    assert verify_merkle(merkle_root(leaves), leaves[index], proof)
    assert codec(MerkleProof).decode(codec(MerkleProof).encode(proof)) == proof


@given(LEAVES, st.data())
def test_a_proof_does_not_verify_another_leaf_or_place(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, proof = merkle_root(leaves), merkle_proof(leaves, index)
    assert not verify_merkle(root, leaves[index] + b"x", proof)
    for other in range(len(leaves)):
        if leaves[other] != leaves[index]:
            assert not verify_merkle(root, leaves[index], dataclasses.replace(proof, index=other))


@given(LEAVES, st.binary(max_size=64), st.data())
def test_a_malformed_proof_answers_false(leaves, leaf, data):
    sibling = st.binary(min_size=32, max_size=32)
    proof = MerkleProof(
        data.draw(st.integers(0, 40)),
        data.draw(st.integers(0, 40)),
        tuple(data.draw(st.lists(sibling, max_size=6))),
    )
    assert not verify_merkle(merkle_root(leaves), leaf, proof)


@given(LEAVES, LEAVES)
def test_different_lists_have_different_roots(left, right):
    assert (merkle_root(left) == merkle_root(right)) == (left == right)


def test_an_inner_node_cannot_pose_as_a_leaf_of_a_shorter_list():
    leaves = [bytes([at]) * 32 for at in range(4)]
    proof = merkle_proof(leaves, 0)
    forged = MerkleProof(0, 2, proof.siblings[1:])
    for prefix in (b"", b"openledger/list/node"):
        assert not verify_merkle(merkle_root(leaves), prefix + leaves[0] + leaves[1], forged)


def test_the_empty_list_has_a_root_of_its_own():
    assert merkle_root([]) != merkle_root([b""])
    with pytest.raises(LeafIndexError):
        merkle_proof([], 0)


@pytest.mark.parametrize("length", [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 700_000])
def test_streaming_chunk_hashes_and_whole_bytes_name_a_blob_alike(length):
    data = (blake2b_256(b"seed") * (length // 32 + 1))[:length]
    hasher = BlobHasher()
    for start in range(0, length, 100_000):
        hasher.update(data[start : start + 100_000])
    assert hasher.blob_id() == blob_id(data)
    assert hasher.length == length
    hashes = [chunk_hash(chunk) for chunk in chunks(data)]
    assert hasher.chunk_hashes() == hashes
    assert blob_id_of_chunks(hashes, length) == blob_id(data)


def test_each_chunk_is_verified_alone():
    data = bytes(range(256)) * 3000
    identity, parts = blob_id(data), chunks(data)
    hashes = [chunk_hash(chunk) for chunk in parts]
    for at, chunk in enumerate(parts):
        proof = chunk_proof(hashes, at)
        assert verify_chunk(identity, len(data), chunk, proof)
        assert not verify_chunk(identity, len(data), chunk[:-1] + b"!", proof)
        assert not verify_chunk(identity, len(data) - 1, chunk, proof)
        assert not verify_chunk(identity, len(data), chunk[:-1], proof)


def test_a_wrong_number_of_chunk_hashes_is_refused():
    with pytest.raises(ChunkCountError):
        blob_id_of_chunks([chunk_hash(b"x")], CHUNK_SIZE + 1)


@given(SUM_LEAVES, st.data())
def test_a_sum_proof_shows_leaf_amount_and_total(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, total = sum_root(leaves)
    proof = sum_proof(leaves, index)
    leaf, amount = leaves[index]
    assert total == sum(amount for _, amount in leaves)
    assert verify_sum(root, total, leaf, amount, proof)
    assert not verify_sum(root, total, leaf, amount + 1, proof)
    assert not verify_sum(root, total + 1, leaf, amount, proof)
    assert not verify_sum(root, total, Hash(blake2b_256(leaf)), amount, proof)
    assert codec(SumProof).decode(codec(SumProof).encode(proof)) == proof


def test_a_sum_that_overflows_is_refused_and_never_verified():
    leaves = [(Hash(bytes(32)), AMOUNT_MAX), (Hash(bytes(32)), 1)]
    with pytest.raises(AmountError):
        sum_root(leaves)
    forged = SumProof(0, 2, sum_proof(leaves[1:], 0).siblings)
    assert not verify_sum(Hash(bytes(32)), 0, leaves[0][0], -1, forged)


def test_the_empty_sum_tree_has_total_zero():
    root, total = sum_root([])
    assert total == 0
    assert root != sum_root([(Hash(bytes(32)), 0)])[0]
