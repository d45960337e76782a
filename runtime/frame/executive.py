"""The executive: builds, executes and validates blocks with a machine. Pure: state in, changes out.

Order of a block: initialize (number, parent, digest; hooks), inherents, extrinsics by priority,
finalize (hooks, events), one sorted trie batch. A signed extrinsic is checked (signature, era,
nonce, fee), then its fee is charged, then its call runs in a transaction; a failed call still pays.
Signatures that the caller has checked (`verified`) are not checked again on the same branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, cast

from runtime.codec.scale import DecodeError, EncodeError, codec, u32
from runtime.frame.block import (
    BLOCK_EXTRINSICS_MAX,
    BodyRefusedError,
    ExecutedBlock,
    InvalidBlockError,
    check_length,
    check_shape,
    check_size,
    fits,
)
from runtime.frame.dispatch import (
    INHERENT,
    DispatchClass,
    DispatchError,
    DispatchFailed,
    Error,
    Origin,
    Transactional,
)
from runtime.frame.dispatch import TransactionalError as Nesting
from runtime.frame.events import DispatchInfo, EventRecord, Pays
from runtime.frame.extrinsic import Additional, Envelope, Extrinsic, MetadataHashMode
from runtime.frame.fees import EXTRINSIC_BASE_WEIGHT, NORMAL_PERCENT, priority
from runtime.frame.machine import Machine
from runtime.frame.required_pallets import Payment, System
from runtime.frame.state import Overlay, TransactionDepthError
from runtime.frame.validity import (
    AncientBirthBlock,
    BadProof,
    BadSigner,
    CallInvalid,
    CannotLookupSigner,
    ExhaustsResources,
    MandatoryValidation,
    NoUnsignedValidator,
    TransactionRefused,
    ValidTransaction,
    check_nonce,
)
from runtime.trie.backend import Backend, Recorder
from runtime.trie.trie import V1, ordered_root, update
from runtime.types.primitives import (
    ZERO_HASH,
    AccountId,
    Consensus,
    Digest,
    DigestItem,
    Hash,
    Header,
    Weight,
)

NOTHING_VERIFIED: Final[Mapping[Hash, Hash]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of one extrinsic: its error, if any, and the weight that was paid for."""

    error: DispatchError | None
    info: DispatchInfo


class Executive:
    """Executes blocks of one machine. Not reentrant, like its machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._system = cast(System, machine.pallets["System"])
        self._payment = cast(Payment, machine.pallets["TransactionPayment"])

    # ------------------------------------------------------------------------------- blocks

    def build(
        self,
        backend: Backend,
        parent: Header,
        logs: Sequence[DigestItem],
        inherents: Sequence[bytes],
        candidates: Iterable[Extrinsic],
        verified: Mapping[Hash, Hash] = NOTHING_VERIFIED,
    ) -> ExecutedBlock:
        """Build the next block. Candidates that do not apply are reported in `refused`.

        `verified` maps the hash of an extrinsic whose signature was checked to the birth block
        that the signature covered; where this branch has another one, it is checked again. Raises
        InvalidBlockError when an inherent fails.
        """
        recorder = Recorder(backend)
        overlay = Overlay(recorder)
        included: list[bytes] = []
        refused: list[tuple[Hash, TransactionRefused]] = []
        with self.machine.on(overlay):
            self._initialize(parent, logs)
            length = 0
            weight = Weight(0, 0)
            for raw in inherents:
                weight = self._apply_inherent(raw, len(included), weight)
                included.append(raw)
                length += len(raw)
            for extrinsic in candidates:
                if len(included) >= BLOCK_EXTRINSICS_MAX:
                    break
                try:
                    check_length(length + len(extrinsic.raw))
                    self._apply(extrinsic, len(included), verified)
                except TransactionRefused as refusal:
                    refused.append((extrinsic.hash, refusal))
                    continue
                included.append(extrinsic.raw)
                length += len(extrinsic.raw)
            return self._seal(recorder, parent, included, tuple(refused))

    def execute(
        self,
        backend: Backend,
        header: Header,
        extrinsics: Sequence[bytes],
        parent: Header,
        verified: Mapping[Hash, Hash] = NOTHING_VERIFIED,
    ) -> ExecutedBlock:
        """Execute a block of another author; `verified` as in `build`.

        Raises InvalidBlockError on any mismatch, of these its kind BodyRefusedError for extrinsics
        that are not the header's.
        """
        check_shape(header, extrinsics, parent)
        recorder = Recorder(backend)
        overlay = Overlay(recorder)
        with self.machine.on(overlay):
            self._initialize(parent, header.digest.logs)
            signed_seen = False
            length, weight = 0, Weight(0, 0)
            for index, raw in enumerate(extrinsics):
                length += len(raw)
                try:
                    extrinsic = self.machine.extrinsics.decode(raw)
                    if extrinsic.signed is None:
                        if signed_seen:
                            raise InvalidBlockError("an inherent follows a signed extrinsic")
                        weight = self._apply_inherent(raw, index, weight)
                    else:
                        signed_seen = True
                        check_length(length)
                        self._apply(extrinsic, index, verified)
                except (DecodeError, TransactionRefused) as error:
                    raise InvalidBlockError(f"extrinsic {index}: {error}") from error
            executed = self._seal(recorder, parent, list(extrinsics), ())
        if executed.header != header:
            raise InvalidBlockError(
                f"block {header.number}: executing gives state root "
                f"0x{executed.header.state_root.hex()}, the header says "
                f"0x{header.state_root.hex()}; same extrinsics root: "
                f"{executed.header.extrinsics_root == header.extrinsics_root}"
            )
        return executed

    def _initialize(self, parent: Header, logs: Sequence[DigestItem]) -> None:
        # Consensus items are written by the runtime: executing the block writes them again.
        given = tuple(item for item in logs if not isinstance(item, Consensus))
        self._system.initialize(parent.number + 1, parent.hash, Digest(given))
        used = Weight(0, 0)
        for pallet in self.machine.pallets.values():
            used = used + pallet.on_initialize()
        self._system.note_weight(DispatchClass.Mandatory, used)

    def _seal(
        self,
        recorder: Recorder,
        parent: Header,
        extrinsics: list[bytes],
        refused: tuple[tuple[Hash, TransactionRefused], ...],
    ) -> ExecutedBlock:
        machine = self.machine
        machine.begin_finalization()
        for pallet in machine.pallets.values():
            try:
                pallet.on_finalize()
            except AssertionError as error:
                # A pallet asserts there what every block must hold, such as a timestamp.
                raise InvalidBlockError(f"{pallet.name}: {error}") from error
        digest = self._system.finalize(machine.records, len(extrinsics))
        changes = machine.overlay.changes()
        difference = update(recorder, changes.items(), V1)
        header = Header(
            parent_hash=parent.hash,
            number=parent.number + 1,
            state_root=Hash(difference.root),
            extrinsics_root=Hash(ordered_root(extrinsics)),
            digest=digest,
        )
        former = recorder.former(changes, difference.nodes)
        return ExecutedBlock(
            header=header,
            extrinsics=tuple(extrinsics),
            changes=changes,
            nodes=difference.nodes,
            refused=refused,
            former=former,
        )

    # --------------------------------------------------------------------------- extrinsics

    def _apply_inherent(self, raw: bytes, index: int, before: Weight) -> Weight:
        """Dispatch an inherent; returns the weight of all inherents so far, which has a maximum.

        Hooks do not count towards it: if a heavy hook excluded the inherents, which a block must
        have, no block could be made at all.
        """
        machine = self.machine
        try:
            extrinsic = machine.extrinsics.decode(raw)
        except DecodeError as error:
            raise InvalidBlockError(f"extrinsic {index}: {error}") from error
        if extrinsic.signed is not None:
            raise InvalidBlockError(f"extrinsic {index}: an inherent is not signed")
        if machine.class_of(extrinsic.call) is not DispatchClass.Mandatory:
            raise InvalidBlockError(f"extrinsic {index}: unsigned, but its call is no inherent")
        machine.begin_extrinsic(index)
        weight = machine.weight_of(extrinsic.call)
        if not fits(before + weight, 100):
            raise InvalidBlockError(f"extrinsic {index}: the block's inherents are too heavy")
        try:
            with machine.transaction():
                machine.dispatch(extrinsic.call, INHERENT)
        except (DispatchFailed, Error) as error:
            raise InvalidBlockError(
                f"the inherent {extrinsic.call.name} failed: {error}"
            ) from error
        self._system.note_weight(DispatchClass.Mandatory, weight)
        info = DispatchInfo(weight, DispatchClass.Mandatory, Pays.Yes)
        self._system.note_applied(None, info)
        return before + weight

    def _apply(
        self, extrinsic: Extrinsic, index: int, verified: Mapping[Hash, Hash] | None
    ) -> Applied:
        """Check, charge and dispatch one signed extrinsic; None checks no signature at all.

        Raises TransactionRefused.
        """
        machine, signed = self.machine, extrinsic.signed
        assert signed is not None, "inherents take the other path"
        is_verified = verified is None or self._was_verified(extrinsic, verified)
        account = self._check(extrinsic, is_verified=is_verified, exact_nonce=True)
        weight, kind = machine.weight_of(extrinsic.call), machine.class_of(extrinsic.call)
        total = weight + EXTRINSIC_BASE_WEIGHT
        check_size(total, len(extrinsic.raw))
        self._check_room(total, kind)
        self._check_call(extrinsic, account)
        fee = self._payment.fee_of(weight, len(extrinsic.raw))
        tip = signed.extra.tip
        machine.begin_extrinsic(index)
        with machine.transaction():
            self._payment.charge(account, fee + tip)
        # Outside of the call's transaction: a failed call pays and uses up its nonce all the same,
        # else it could be repeated for nothing.
        self._system.count_nonce(account)
        error, actual = self.dispatch(extrinsic, Origin.signed(account))
        if actual is not None and actual.ref_time < weight.ref_time:
            total = actual + EXTRINSIC_BASE_WEIGHT
            owed = self._payment.fee_of(actual, len(extrinsic.raw))
        else:
            owed = fee
        self._system.note_weight(kind, total)
        self._payment.settle(account, fee + tip, owed + tip, tip)
        info = DispatchInfo(total, kind, Pays.Yes)
        self._system.note_applied(error, info)
        return Applied(error, info)

    def dispatch(
        self, extrinsic: Extrinsic, origin: Origin
    ) -> tuple[DispatchError | None, Weight | None]:
        """Run the call in a transaction: (error or None, actual weight if the call returns one)."""
        try:
            with self.machine.transaction():
                return None, self.machine.dispatch(extrinsic.call, origin)
        except (DispatchFailed, Error) as failure:
            return failure.error, None
        except TransactionDepthError:
            return Transactional(Nesting.LimitReached), None
        except EncodeError as failure:
            # A pallet let a value through that its type has no room for: a bug of the runtime, not
            # a mistake of the sender. Failing the call would hide it.
            raise AssertionError(f"a call wrote a value that does not fit: {failure}") from failure

    def _check_room(self, weight: Weight, kind: DispatchClass) -> None:
        percent = NORMAL_PERCENT if kind is DispatchClass.Normal else 100
        if not fits(self._system.used_weight() + weight, percent):
            raise TransactionRefused(ExhaustsResources())

    def _check_call(self, extrinsic: Extrinsic, account: AccountId) -> None:
        """Refuse an operational call that cannot succeed. Raises TransactionRefused."""
        try:
            self.machine.check_call(extrinsic.call, account)
        except (DispatchFailed, Error) as failure:
            raise TransactionRefused(CallInvalid(), str(failure)) from failure

    def _check(self, extrinsic: Extrinsic, *, is_verified: bool, exact_nonce: bool) -> AccountId:
        if extrinsic.signed is None:
            raise self._refusal_of_unsigned(extrinsic)
        account = self._signer_of(extrinsic)
        if not is_verified and not extrinsic.is_verified(self.additional(extrinsic)):
            raise TransactionRefused(BadProof())
        if extrinsic.signed.extra.era.period and is_verified:
            # Checking a signature reads the birth block; where that is skipped, the era is not.
            self._birth_hash(extrinsic)
        nonce = extrinsic.signed.extra.nonce
        check_nonce(nonce, self._system.nonce(account), exact=exact_nonce)
        return account

    def check_envelope(self, envelope: Envelope) -> int:
        """Check what costs the same for every call, before its signature and the call itself.

        The signer, the era, that the nonce is not used, and that the account has the fee of this
        length. Returns the next nonce of the signer. Raises TransactionRefused.
        """
        if envelope.signed is None:
            raise self._refusal_of_unsigned(envelope)
        account, extra = self._signer_of(envelope), envelope.signed.extra
        self._birth_hash(envelope)
        expected = self._system.nonce(account)
        check_nonce(extra.nonce, expected, exact=False)
        fee = self._payment.fee_of(Weight(0, 0), len(envelope.raw))
        self._payment.can_pay(account, fee + extra.tip)
        return expected

    def _signer_of(self, envelope: Envelope) -> AccountId:
        signed = envelope.signed
        assert signed is not None, "checked"
        account = signed.account
        if account is None or signed.extra.mode is not MetadataHashMode.Disabled:
            raise TransactionRefused(CannotLookupSigner())
        if account == bytes(32):  # of low order: everybody can make signatures of this key
            raise TransactionRefused(BadSigner())
        return account

    def _refusal_of_unsigned(self, envelope: Envelope) -> TransactionRefused:
        """Return why an unsigned extrinsic is no transaction: authors alone add inherents."""
        if self.machine.is_inherent(envelope.call_bytes):
            return TransactionRefused(MandatoryValidation())
        return TransactionRefused(NoUnsignedValidator())

    def _was_verified(self, extrinsic: Extrinsic, verified: Mapping[Hash, Hash]) -> bool:
        """Return whether the signature was checked with the birth block of this branch."""
        birth = verified.get(extrinsic.hash) if verified else None
        return birth is not None and birth == self.birth_of(extrinsic)

    def birth_of(self, extrinsic: Envelope) -> Hash | None:
        """Return the birth block that a signature must cover at the current block.

        None for what has no signature to check: unsigned, no account, or an ancient era.
        """
        signed = extrinsic.signed
        if signed is None or signed.account is None:
            return None
        return self._system.hash_of(signed.extra.era.birth(self._system.current_number()))

    def _birth_hash(self, extrinsic: Envelope) -> Hash:
        assert extrinsic.signed is not None, "inherents have no era"
        era, system = extrinsic.signed.extra.era, self._system
        birth = system.hash_of(era.birth(system.current_number()))
        if birth is None:
            raise TransactionRefused(AncientBirthBlock())
        return birth

    def additional(self, extrinsic: Envelope) -> Additional:
        """Return what the signature must cover at the current block. Raises TransactionRefused."""
        version = self.machine.version
        genesis = self._system.hash_of(0) or ZERO_HASH
        return Additional(
            version.spec_version,
            version.transaction_version,
            genesis,
            self._birth_hash(extrinsic),
        )

    def nonce(self, account: AccountId) -> int:
        """Return an account's next nonce in the machine's current state."""
        return self._system.nonce(account)

    # --------------------------------------------------------------------------- validation

    def validate(self, backend: Backend, best: Header, extrinsic: Extrinsic) -> ValidTransaction:
        """Return how an extrinsic may follow `best`. Raises TransactionRefused."""
        overlay = self.begin_next(backend, best)
        with self.machine.on(overlay):
            return self.validate_here(extrinsic, is_verified=False)

    def begin_next(self, backend: Backend, best: Header) -> Overlay:
        """Return the state in which transactions on top of `best` are validated.

        It serves any number of them: validation writes nothing, and what is read stays decoded.
        """
        overlay = Overlay(backend)
        with self.machine.on(overlay):
            self._system.initialize(best.number + 1, best.hash, Digest(()))
        return overlay

    def validate_here(self, extrinsic: Extrinsic, *, is_verified: bool) -> ValidTransaction:
        """Validate within the current, initialized overlay. Raises TransactionRefused."""
        machine, signed = self.machine, extrinsic.signed
        account = self._check(extrinsic, is_verified=is_verified, exact_nonce=False)
        assert signed is not None, "checked"
        weight = machine.weight_of(extrinsic.call)
        check_size(weight + EXTRINSIC_BASE_WEIGHT, len(extrinsic.raw))
        fee = self._payment.fee_of(weight, len(extrinsic.raw))
        self._payment.can_pay(account, fee + signed.extra.tip)
        self._check_call(extrinsic, account)
        nonce, number = signed.extra.nonce, self._system.current_number()
        era = signed.extra.era
        longevity = era.death(number) - number if era.period else 2**64 - 1
        waits = nonce > self._system.nonce(account)
        return ValidTransaction(
            priority(signed.extra.tip, fee, machine.class_of(extrinsic.call)),
            (nonce_tag(account, nonce - 1),) if waits else (),
            (nonce_tag(account, nonce),),
            longevity,
            propagate=True,
        )

    def dry_run(
        self,
        backend: Backend,
        best: Header,
        extrinsic: Extrinsic,
        *,
        checks_signature: bool = False,
    ) -> tuple[Applied, tuple[EventRecord, ...], Overlay]:
        """Apply an extrinsic on top of `best`; the state is discarded. Raises TransactionRefused.

        By default the signature is not checked: a dry run comes before the key is unlocked.
        """
        if extrinsic.signed is None:
            raise self._refusal_of_unsigned(extrinsic)
        overlay = Overlay(backend)
        verified = NOTHING_VERIFIED if checks_signature else None
        with self.machine.on(overlay):
            self._initialize(best, ())
            start = len(self.machine.records)
            applied = self._apply(extrinsic, 0, verified)
            return applied, tuple(self.machine.records[start:]), overlay


def nonce_tag(account: AccountId, nonce: int) -> bytes:
    """Return the tag that a transaction provides."""
    return account + codec(u32).encode(nonce)


__all__ = [
    "Applied",
    "BodyRefusedError",
    "ExecutedBlock",
    "Executive",
    "InvalidBlockError",
    "nonce_tag",
]
