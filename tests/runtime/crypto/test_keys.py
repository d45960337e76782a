import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.crypto import ss58
from runtime.crypto.keys import (
    DEV_PHRASE,
    DerivationError,
    KeyKind,
    Keypair,
    PhraseError,
    SeedError,
    generate_phrase,
    verify,
)
from tests.conftest import VECTORS

KINDS = st.sampled_from(list(KeyKind))


def cases(name: str) -> list[dict[str, str]]:
    return json.loads((VECTORS / name).read_text())["cases"]


def test_alice_has_her_known_addresses() -> None:
    ed25519 = Keypair.from_uri("//Alice", KeyKind.ED25519)
    sr25519 = Keypair.from_uri("//Alice", KeyKind.SR25519)
    assert ss58.encode(ed25519.account) == "5FA9nQDVg267DEd8m1ZypXLBnvN7SFxYwV7ndqSYGiN9TTpu"
    assert ss58.encode(sr25519.account) == "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"


@pytest.mark.parametrize("case", cases("secret_uris.json"), ids=lambda case: case["kind"])
def test_secret_uris_give_the_accounts_of_polkadot_js(case: dict[str, str]) -> None:
    pair = Keypair.from_uri(case["uri"], KeyKind[case["kind"].upper()])
    assert ss58.encode(pair.account) == case["address"]


@pytest.mark.parametrize("case", cases("ed25519_acceptance.json"), ids=lambda case: case["case"])
def test_the_ed25519_acceptance_rule_is_pinned(case: dict[str, str]) -> None:
    signature, message, account = (
        bytes.fromhex(case[name]) for name in ("signature", "message", "account")
    )
    assert verify(KeyKind.ED25519, signature, message, account) is case["accepted"]


@given(KINDS, st.binary(max_size=300))
def test_a_signature_verifies_for_its_own_message_alone(kind: KeyKind, message: bytes) -> None:
    pair = Keypair.from_seed(bytes(32), kind)
    signature = pair.sign(message)
    assert len(signature) == 64
    assert verify(kind, signature, message, pair.account)
    assert not verify(kind, signature, message + b"\0", pair.account)
    assert not verify(KeyKind(1 - kind), signature, message, pair.account)


@given(
    st.integers(-1, 3),
    st.binary(max_size=70) | st.binary(min_size=64, max_size=64),
    st.binary(max_size=40),
    st.binary(max_size=40) | st.binary(min_size=32, max_size=32),
)
def test_verifying_garbage_answers_false(
    kind: int, signature: bytes, message: bytes, account: bytes
) -> None:
    assert verify(kind, signature, message, account) is False


@given(KINDS, st.integers(0, 511))
def test_a_flipped_bit_spoils_a_signature(kind: KeyKind, bit: int) -> None:
    pair = Keypair.from_seed(b"\x01" * 32, kind)
    signature = bytearray(pair.sign(b"message"))
    signature[bit // 8] ^= 1 << bit % 8
    assert not verify(kind, bytes(signature), b"message", pair.account)


@pytest.mark.parametrize("kind", KeyKind)
def test_a_generated_pair_is_restored_by_its_phrase(kind: KeyKind) -> None:
    pair, phrase = Keypair.generate(kind)
    assert len(phrase.split()) == 12
    assert Keypair.from_uri(phrase, kind).account == pair.account
    assert Keypair.from_uri(f"  {phrase.replace(' ', '   ')} ", kind).account == pair.account


def test_phrases_come_in_the_lengths_of_bip39() -> None:
    assert [len(generate_phrase(words).split()) for words in (12, 15, 18, 21, 24)] == [
        12,
        15,
        18,
        21,
        24,
    ]
    with pytest.raises(PhraseError, match="not 13"):
        generate_phrase(13)


@pytest.mark.parametrize("kind", KeyKind)
def test_no_secret_shows_in_a_repr(kind: KeyKind) -> None:
    pair = Keypair.from_uri("//Alice", kind)
    assert "secret" not in repr(pair)
    assert repr(pair.secret)[2:20] not in repr(pair)


def test_the_password_changes_the_account() -> None:
    assert Keypair.from_uri("///one").account != Keypair.from_uri("///two").account
    assert Keypair.from_uri(DEV_PHRASE) == Keypair.from_uri("")


def test_ed25519_refuses_soft_derivation() -> None:
    with pytest.raises(DerivationError, match="no soft derivation"):
        Keypair.from_uri("//Alice/soft")


@pytest.mark.parametrize("path", ["//", "/", "//a/", "//a//"])
def test_a_malformed_path_is_refused(path: str) -> None:
    with pytest.raises(DerivationError):
        Keypair.from_uri(DEV_PHRASE + path)


@pytest.mark.parametrize(
    "phrase", ["bottom drive", DEV_PHRASE + " walk", DEV_PHRASE.replace("walk", "wall"), "0x12"]
)
def test_an_invalid_phrase_is_refused_without_quoting_it(phrase: str) -> None:
    with pytest.raises(PhraseError) as caught:
        Keypair.from_uri(phrase + "//Alice")
    assert phrase not in str(caught.value)


def test_a_seed_of_another_size_is_refused() -> None:
    with pytest.raises(SeedError, match="not 31"):
        Keypair.from_seed(bytes(31))


@given(KINDS, st.text(max_size=60))
def test_a_uri_is_a_pair_or_one_of_the_documented_errors(kind: KeyKind, uri: str) -> None:
    try:
        pair = Keypair.from_uri("//" + uri, kind)
    except (PhraseError, DerivationError):
        return
    assert len(pair.account) == 32


PHRASE = "bottom drive obey lake curtain smoke basket hold race lonely fit walk"


@pytest.mark.parametrize(
    ("phrase", "fault"),
    [
        (PHRASE.replace("lake", "lakke").replace("walk", "Walk"), "at place 4, 12"),
        (PHRASE.removesuffix(" walk"), "it has 11 words"),
        (PHRASE.replace("lake curtain", "curtain lake"), "the checksum is wrong"),
    ],
)
def test_what_is_wrong_with_a_phrase_is_told_without_its_words(phrase: str, fault: str) -> None:
    with pytest.raises(PhraseError, match=fault) as caught:
        Keypair.from_uri(phrase)
    assert "lakke" not in str(caught.value)
