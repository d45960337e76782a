import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pallets import balances
from pallets.balances import Balances
from pallets.system import System
from pallets.timestamp import Timestamp
from pallets.transaction_payment import RuntimeDispatchInfo, TransactionPayment
from runtime.codec.scale import DecodeError, decode, encode, u32, u64, u128
from runtime.crypto.keys import Keypair
from runtime.frame.dispatch import Error
from runtime.frame.executive import Executive
from runtime.frame.extrinsic import Additional, Extra
from runtime.frame.machine import Machine
from runtime.frame.pallet import Pallet, api
from runtime.frame.state import Overlay
from runtime.frame.storage import Value, default
from runtime.frame.validity import (
    BadProof,
    CannotLookupSigner,
    Invalid,
    MandatoryValidation,
    Payment,
    Stale,
    Unknown,
)
from runtime.metadata.apis import (
    ApiFailedError,
    ApiRefusedError,
    UnknownApiError,
    api_versions,
    call_api,
    runtime_version,
)
from runtime.metadata.frame_metadata import Metadata15
from runtime.metadata.interfaces import (
    Accepted,
    Block,
    OpaqueMetadata,
    Refused,
    TransactionValidity,
    api_traits,
)
from runtime.metadata.metadata import metadata
from runtime.trie.backend import MemoryBackend
from runtime.trie.trie import V1, ordered_root, update
from runtime.types.era import IMMORTAL, Era
from runtime.types.primitives import (
    OPEN,
    ZERO_HASH,
    AccountData,
    AccountId,
    Digest,
    Hash,
    Header,
    Id,
    RuntimeVersion,
)

ALICE, BOB, POOR = (Keypair.from_uri(f"//{name}") for name in ("Alice", "Bob", "Poor"))
LOCAL = b"\1"


class Asked(Pallet, index=90):
    """Answers questions of tests."""

    seen: Value[u32] = default(0)

    class NotThis(Error, index=0):
        """Ask something else."""

    @api("AskedApi", version=7)
    def add(self, left: u32, from_: u64) -> u64:
        """Return the sum."""
        return left + from_

    @api("AskedApi", version=7)
    def refuse(self) -> u32:
        """Refuse to answer."""
        raise self.NotThis

    @api("AskedApi", version=7)
    def write(self) -> u32:
        """Write, and return what was there before."""
        former = self.seen.get()
        self.seen.put(former + 1)
        return former


class Chain:
    """A genesis state with funded accounts."""

    def __init__(self) -> None:
        pallets = (System, Timestamp, Balances, TransactionPayment, Asked)
        self.machine = Machine(pallets, RuntimeVersion("test", "test", 1, 3, 1, (), 2, 1))
        self.executive = Executive(self.machine)
        self.backend = MemoryBackend()
        overlay = Overlay(self.backend)
        with self.machine.on(overlay):
            accounts = tuple((AccountId(pair.account), 100 * OPEN) for pair in (ALICE, BOB))
            self.machine.pallets["Balances"].build_genesis(balances.Genesis(accounts))  # type: ignore[attr-defined]
            self.machine.pallets["TransactionPayment"].build_genesis()  # type: ignore[attr-defined]
        changes = overlay.changes()
        root = update(self.backend, changes.items(), V1)
        self.backend.apply(changes, root.nodes)
        empty = Hash(ordered_root([]))
        self.genesis = Header(ZERO_HASH, 0, Hash(root.root), empty, Digest(()))

    def ask(self, name: str, data: bytes = b"") -> bytes:
        return call_api(self.executive, self.backend, self.genesis, name, data)

    def transfer(
        self, sender: Keypair = ALICE, nonce: int = 0, tip: int = 0, era: Era = IMMORTAL
    ) -> bytes:
        call = self.machine.call(
            "Balances", "transfer_keep_alive", dest=Id(AccountId(BOB.account)), value=OPEN
        )
        genesis = self.genesis.hash
        additional = Additional(3, 2, genesis, genesis)
        return self.machine.extrinsics.sign(call, sender, Extra(era, nonce, tip), additional)

    def validity(self, raw: bytes) -> TransactionValidity:
        answer = self.ask(
            "TaggedTransactionQueue_validate_transaction", LOCAL + raw + self.genesis.hash
        )
        return decode(TransactionValidity, answer)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def test_the_version_lists_every_api(chain: Chain) -> None:
    version = decode(RuntimeVersion, chain.ask("Core_version"))
    assert version == runtime_version(chain.machine)
    assert (version.spec_version, version.transaction_version) == (3, 2)
    assert version.apis == api_versions(chain.machine)


def test_api_identifiers_are_those_of_substrate(chain: Chain) -> None:
    known = {identifier.hex(): version for identifier, version in api_versions(chain.machine)}
    assert known["df6acb689907609b"] == 4  # Core
    assert known["37e397fc7c91f5e4"] == 2  # Metadata
    assert known["d2bc9897eed08f15"] == 3  # TaggedTransactionQueue
    assert known["bc9d89904f5b923f"] == 1  # AccountNonceApi
    assert known["37c8bb1350a9a2a8"] == 4  # TransactionPaymentApi
    assert 7 in known.values()


@pytest.mark.parametrize("name", ["Core_execute_block", "Core_initialize_block"])
def test_blocks_are_not_executed_on_request(chain: Chain, name: str) -> None:
    block = chain.machine.codec(Block).encode(
        Block(chain.genesis, (chain.machine.extrinsics.decode(chain.transfer()),))
    )
    data = block if name == "Core_execute_block" else encode(Header, chain.genesis)
    with pytest.raises(ApiRefusedError, match="by the node itself"):
        chain.ask(name, data)


# --------------------------------------------------------------------------------------- metadata


def test_metadata_comes_in_the_versions_that_are_listed(chain: Chain) -> None:
    assert decode(tuple[u32, ...], chain.ask("Metadata_metadata_versions")) == (14, 15)
    for version in (14, 15):
        answer = chain.ask("Metadata_metadata_at_version", encode(u32, version))
        opaque = decode(OpaqueMetadata | None, answer)  # type: ignore[arg-type]
        assert opaque == OpaqueMetadata(metadata(chain.machine, version))
    assert chain.ask("Metadata_metadata_at_version", encode(u32, 16)) == b"\0"


def test_metadata_without_a_version_is_14(chain: Chain) -> None:
    opaque = decode(OpaqueMetadata, chain.ask("Metadata_metadata"))
    assert opaque.encoded[:5] == b"meta\x0e"


def test_every_api_is_in_metadata_with_its_types(chain: Chain) -> None:
    described = decode(Metadata15, metadata(chain.machine, 15)[5:])
    traits = api_traits(chain.machine)
    assert [trait.name for trait in described.apis] == list(traits)
    for trait in described.apis:
        assert [method.name for method in trait.methods] == [
            spec.name for spec in traits[trait.name]
        ]
        assert all(method.docs for method in trait.methods)
    [asked] = [trait for trait in described.apis if trait.name == "AskedApi"]
    assert [parameter.name for parameter in asked.methods[0].inputs] == ["left", "from"]


def test_every_api_in_metadata_can_be_called(chain: Chain) -> None:
    for trait, specs in api_traits(chain.machine).items():
        for spec in specs:
            try:
                chain.ask(f"{trait}_{spec.name}", b"")
            except (DecodeError, ApiFailedError):
                assert spec.arguments or spec.name == "refuse"


# ------------------------------------------------------------------------------------- validation


def test_a_valid_transaction_says_how_it_takes_part_in_the_queue(chain: Chain) -> None:
    answer = chain.validity(chain.transfer(nonce=1, tip=OPEN))
    assert isinstance(answer, Accepted)
    assert answer.value.priority > 0
    assert answer.value.requires == (ALICE.account + encode(u32, 0),)
    assert answer.value.provides == (ALICE.account + encode(u32, 1),)
    assert answer.value.propagate


def test_validating_leaves_the_state_alone(chain: Chain) -> None:
    before = dict(chain.backend.values)
    assert chain.validity(chain.transfer()) == chain.validity(chain.transfer())
    assert chain.backend.values == before


def test_a_transaction_that_cannot_pay_is_refused(chain: Chain) -> None:
    assert chain.validity(chain.transfer(POOR)) == Refused(Invalid(Payment()))


def test_a_bad_signature_is_refused(chain: Chain) -> None:
    raw = bytearray(chain.transfer())
    raw[60] ^= 1
    assert chain.validity(bytes(raw)) == Refused(Invalid(BadProof()))


def test_an_inherent_is_refused(chain: Chain) -> None:
    raw = chain.machine.extrinsics.inherent(chain.machine.call("Timestamp", "set", now=1))
    assert chain.validity(raw) == Refused(Invalid(MandatoryValidation()))


def test_the_state_is_the_one_of_the_block_asked() -> None:
    chain = Chain()
    raw = chain.transfer()
    inherent = chain.machine.extrinsics.inherent(chain.machine.call("Timestamp", "set", now=1))
    candidates = [chain.machine.extrinsics.decode(raw)]
    block = chain.executive.build(chain.backend, chain.genesis, (), [inherent], candidates)
    assert isinstance(chain.validity(raw), Accepted)
    chain.backend.apply(block.changes, block.nodes)
    chain.genesis = block.header
    assert chain.validity(raw) == Refused(Invalid(Stale()))


def test_refusals_have_the_encoding_of_substrate() -> None:
    assert encode(TransactionValidity, Refused(Invalid(Payment()))) == b"\1\0\1"
    assert encode(TransactionValidity, Refused(Unknown(CannotLookupSigner()))) == b"\1\1\0"


# ---------------------------------------------------------------------------------------- pallets


def test_a_pallet_answers_at_the_state_of_the_block(chain: Chain) -> None:
    assert chain.ask("AccountNonceApi_account_nonce", ALICE.account) == encode(u32, 0)
    answer = decode(AccountData, chain.ask("BalancesApi_account_balance", ALICE.account))
    assert answer.free == 100 * OPEN


def test_arguments_follow_each_other(chain: Chain) -> None:
    assert chain.ask("AskedApi_add", encode(u32, 5) + encode(u64, 7)) == encode(u64, 12)


def test_the_fee_of_an_extrinsic_is_quoted(chain: Chain) -> None:
    raw = chain.transfer()
    info = decode(
        RuntimeDispatchInfo,
        chain.ask("TransactionPaymentApi_query_info", raw + encode(u32, len(raw))),
    )
    longer = decode(
        RuntimeDispatchInfo,
        chain.ask("TransactionPaymentApi_query_info", raw + encode(u32, len(raw) + 1)),
    )
    assert 0 < info.partial_fee < longer.partial_fee
    assert info.weight == longer.weight
    fee = chain.ask("TransactionPaymentApi_query_length_to_fee", encode(u32, 1))
    assert decode(u128, fee) == longer.partial_fee - info.partial_fee  # type: ignore[arg-type]


def test_what_an_api_writes_is_not_kept(chain: Chain) -> None:
    assert chain.ask("AskedApi_write") == chain.ask("AskedApi_write") == encode(u32, 0)


def test_a_pallets_refusal_is_told_with_its_sentence(chain: Chain) -> None:
    with pytest.raises(ApiFailedError, match="Ask something else"):
        chain.ask("AskedApi_refuse")


@pytest.mark.parametrize(
    "name", ["", "Core", "Core_", "core_version", "AskedApi_seen", "Asked_add"]
)
def test_an_unknown_api_is_refused(chain: Chain, name: str) -> None:
    with pytest.raises(UnknownApiError, match="no API"):
        chain.ask(name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("Core_version", b"\0"),
        ("Metadata_metadata_at_version", b""),
        ("AskedApi_add", bytes(11)),
        ("AskedApi_add", bytes(13)),
        ("TransactionPaymentApi_query_info", b"\0" + bytes(4)),
        ("TaggedTransactionQueue_validate_transaction", b"\3" + bytes(40)),
    ],
)
def test_bad_arguments_are_a_decode_error(chain: Chain, name: str, data: bytes) -> None:
    with pytest.raises(DecodeError):
        chain.ask(name, data)


@given(st.data(), st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_garbage_arguments_never_raise_anything_else(
    chain: Chain, data: st.DataObject, garbage: bytes
) -> None:
    names = [
        f"{spec.trait}_{spec.name}"
        for specs in api_traits(chain.machine).values()
        for spec in specs
    ]
    try:
        answer = chain.ask(data.draw(st.sampled_from(names)), garbage)
    except (DecodeError, ApiFailedError, ApiRefusedError):
        return
    assert isinstance(answer, bytes)
