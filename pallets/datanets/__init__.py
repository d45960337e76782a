"""Datanets: community-owned data sets, their rows, their curation, their published versions.

    contribute -> pending -> review: accepted | rejected | spam;  or withdrawn by the contributor
    draft -> publish -> version 1 -> publish -> version 2 ...

Rules that hold here: a row's hash is at most once among a datanet's pending and accepted rows; the
contributor posts the bond (per row) and the deposit (per byte) of a batch and gets both back
unless the batch is spam; a name never changes and is never given out again, a licence never changes
once rows were contributed under it; a version only appends to the version before.
"""

from __future__ import annotations

from dataclasses import replace

from pallets import weights
from pallets.balances import HoldReason
from pallets.datanets import call_weights, curation
from pallets.datanets.errors import DatanetsErrors
from pallets.datanets.invariants import check
from pallets.datanets.records import (
    ACCEPTED_BATCHES_MAX,
    BATCH_BYTES_MAX,
    BATCH_ROWS_MAX,
    BYTE_DEPOSIT,
    CREATION_DEPOSIT,
    CURATORS_MAX,
    PAGE_MAX,
    ROW_BOND,
    Access,
    Batch,
    BatchInfo,
    Datanet,
    DatanetInfo,
    Profile,
    Progress,
    Verdict,
    Version,
)
from pallets.datanets.required_pallets import Currency
from pallets.datanets.texts import has_blank_text, has_long_text, is_licence
from pallets.names import is_name, name_key
from pallets.required_system import BlockNumber
from runtime.codec.scale import u32
from runtime.frame.dispatch import Signed
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import DefaultMap, Map, Value, default
from runtime.types.primitives import AccountId, Balance, Hash, MultiAddress


class Datanets(DatanetsErrors, Pallet, index=20):
    """Community-owned data sets: contribute rows, curate them, publish versions to train on."""

    creation_deposit: Const[Balance] = CREATION_DEPOSIT
    """The amount held from the owner of a datanet, in planck."""
    row_bond: Const[Balance] = ROW_BOND
    """The bond held from a contributor for each row under review, in planck; spam loses it."""
    byte_deposit: Const[Balance] = BYTE_DEPOSIT
    """The deposit held from a contributor for each byte under review, in planck; spam loses it."""
    max_batch_rows: Const[u32] = BATCH_ROWS_MAX
    """The most rows of one batch."""
    max_batch_bytes: Const[u32] = BATCH_BYTES_MAX
    """The most bytes of the file of one batch."""
    max_accepted_batches: Const[u32] = ACCEPTED_BATCHES_MAX
    """The most accepted batches of one datanet."""
    max_curators: Const[u32] = CURATORS_MAX
    """The most curators of one datanet."""

    balances: Needs[Currency]
    system: Needs[BlockNumber]

    next_id: Value[u32] = default(0)
    """The number of the next datanet."""
    records: Map[u32, Datanet]
    """Owner, name, texts, access and curators of a datanet, by datanet."""
    names: Map[str, u32]
    """The datanet that has a name, by the name in lower case."""
    progress: DefaultMap[u32, Progress] = default(Progress())
    """The numbers of batches, rows and versions of a datanet, by datanet."""
    requests: Map[tuple[u32, AccountId], u32]
    """The block in which an account asked for access, by datanet and account."""
    readers: Map[tuple[u32, AccountId], u32]
    """The block in which an account was granted access, by datanet and account."""
    contributions: Map[tuple[u32, u32], Batch]
    """The batches of rows with their contributor, bond and status, by datanet and batch."""
    pending_rows: DefaultMap[tuple[u32, u32], tuple[Hash, ...]] = default(())
    """The hashes of the rows of a batch under review, by datanet and batch."""
    rows: Map[tuple[u32, Hash], u32]
    """The batch that has brought a row, by datanet and hash of the row; only pending and accepted
    rows."""
    accepted: Map[tuple[u32, u32], u32]
    """The batch that was accepted at a position, by datanet and position."""
    contributed: DefaultMap[tuple[u32, AccountId], u32] = default(0)
    """The number of accepted rows of a contributor, by datanet and account."""
    versions: Map[tuple[u32, u32], Version]
    """The published versions, by datanet and version number from 1 on."""

    class Created(Event, index=0):
        """A datanet was created, as a draft."""

        datanet: u32
        owner: AccountId
        name: str

    class Edited(Event, index=1):
        """The owner changed what is said about a datanet, or who may read it."""

        datanet: u32

    class AccessRequested(Event, index=2):
        """An account asks to read a datanet."""

        datanet: u32
        account: AccountId

    class AccessGranted(Event, index=3):
        """An account may read a datanet and contribute to it."""

        datanet: u32
        account: AccountId

    class AccessRevoked(Event, index=4):
        """An account may no longer read a datanet, or its request was declined."""

        datanet: u32
        account: AccountId

    class CuratorAdded(Event, index=5):
        """An account may review batches of a datanet."""

        datanet: u32
        curator: AccountId

    class CuratorRemoved(Event, index=6):
        """An account may no longer review batches of a datanet."""

        datanet: u32
        curator: AccountId

    class Contributed(Event, index=7):
        """Rows were contributed; they wait for a review, their bond is held."""

        datanet: u32
        batch: u32
        contributor: AccountId
        blob: Hash
        rows: u32

    class Reviewed(Event, index=8):
        """A batch was reviewed; its bond was refunded, or burned if it is spam."""

        datanet: u32
        batch: u32
        verdict: Verdict
        reviewer: AccountId

    class Withdrawn(Event, index=9):
        """The contributor took a batch back before its review."""

        datanet: u32
        batch: u32

    class Published(Event, index=10):
        """A version of a datanet was published; models can be trained on it."""

        datanet: u32
        version: u32
        rows: u32
        root: Hash

    # ------------------------------------------------------------------- owner and access

    @call(0, weights.DATANETS_CREATE)
    def create(
        self,
        owner: Signed,
        name: str,
        summary: str,
        description: str,
        tags: tuple[str, ...],
        licence: str,
        source: str,
        purpose: str,
        schema: str,
        access: Access,
    ) -> None:
        """Create a datanet as a draft; a deposit is held from its owner."""
        if not is_name(name):
            raise self.InvalidName
        profile = Profile(summary, description, tags, licence, source, purpose, schema)
        self._check_profile(profile)
        if name_key(name) in self.names:
            raise self.NameTaken
        number = self.next_id.get()
        self.balances.hold(HoldReason.DatanetDeposit, owner, CREATION_DEPOSIT)
        self.next_id.put(number + 1)
        self.names.put(name_key(name), number)
        now = self.system.current_number()
        self.records.put(
            number,
            Datanet(
                owner=owner,
                name=name,
                profile=profile,
                access=access,
                curators=(),
                created_at=now,
                deposit_planck=CREATION_DEPOSIT,
            ),
        )
        self.emit(self.Created(number, owner, name))

    @call(1, weights.DATANETS_EDIT)
    def edit(
        self,
        who: Signed,
        datanet: u32,
        summary: str,
        description: str,
        tags: tuple[str, ...],
        licence: str,
        source: str,
        purpose: str,
        schema: str,
        access: Access,
    ) -> None:
        """Change what is said about a datanet and who may read it; its name stays."""
        record = self._owned(who, datanet)
        profile = Profile(summary, description, tags, licence, source, purpose, schema)
        self._check_profile(profile)
        if licence != record.profile.licence and self.progress.get(datanet).batches:
            raise self.LicenceFixed
        self.records.put(datanet, replace(record, profile=profile, access=access))
        self.emit(self.Edited(datanet))

    @call(2, weights.DATANETS_REQUEST_ACCESS)
    def request_access(self, account: Signed, datanet: u32) -> None:
        """Ask to read a datanet whose access is on request."""
        record = self._datanet(datanet)
        if self.may_read(account, datanet):
            raise self.AccessNotNeeded
        if record.access is Access.Private:
            raise self.ByInvitation
        if (datanet, account) in self.requests:
            raise self.AlreadyRequested
        self.requests.put((datanet, account), self.system.current_number())
        self.emit(self.AccessRequested(datanet, account))

    @call(3, weights.DATANETS_GRANT_ACCESS)
    def grant_access(self, who: Signed, datanet: u32, account: MultiAddress) -> None:
        """Let an account read a datanet and contribute to it; by its owner or a curator."""
        self._curated(who, datanet)
        reader = self.lookup(account)
        if (datanet, reader) in self.readers:
            raise self.AccessNotNeeded
        self.requests.remove((datanet, reader))
        self.readers.put((datanet, reader), self.system.current_number())
        self.emit(self.AccessGranted(datanet, reader))

    @call(4, weights.DATANETS_REVOKE_ACCESS)
    def revoke_access(self, who: Signed, datanet: u32, account: MultiAddress) -> None:
        """Take an account's access back, or decline its request; by the owner or a curator."""
        self._curated(who, datanet)
        reader = self.lookup(account)
        if (datanet, reader) not in self.readers and (datanet, reader) not in self.requests:
            raise self.NothingToRevoke
        self.requests.remove((datanet, reader))
        self.readers.remove((datanet, reader))
        self.emit(self.AccessRevoked(datanet, reader))

    @call(5, weights.DATANETS_ADD_CURATOR)
    def add_curator(self, who: Signed, datanet: u32, curator: MultiAddress) -> None:
        """Let an account review batches; by the owner."""
        record = self._owned(who, datanet)
        account = self.lookup(curator)
        if account == record.owner or account in record.curators:
            raise self.AlreadyCurator
        if len(record.curators) >= CURATORS_MAX:
            raise self.TooManyCurators
        self.records.put(datanet, replace(record, curators=(*record.curators, account)))
        self.emit(self.CuratorAdded(datanet, account))

    @call(6, weights.DATANETS_REMOVE_CURATOR)
    def remove_curator(self, who: Signed, datanet: u32, curator: MultiAddress) -> None:
        """Take the right to review away from a curator; by the owner."""
        record = self._owned(who, datanet)
        account = self.lookup(curator)
        if account not in record.curators:
            raise self.UnknownCurator
        remaining = tuple(curator for curator in record.curators if curator != account)
        self.records.put(datanet, replace(record, curators=remaining))
        self.emit(self.CuratorRemoved(datanet, account))

    # ------------------------------------------------------------------- rows and versions

    @call(7, call_weights.contribute)
    def contribute(
        self,
        contributor: Signed,
        datanet: u32,
        blob: Hash,
        size_bytes: u32,
        row_hashes: tuple[Hash, ...],
    ) -> None:
        """Contribute a batch of rows; a bond per row and a deposit per byte are held from you."""
        self._datanet(datanet)
        if not self.may_read(contributor, datanet):
            raise self.NoAccess
        curation.contribute(
            self,
            contributor=contributor,
            datanet=datanet,
            blob=blob,
            size_bytes=size_bytes,
            row_hashes=row_hashes,
        )

    @call(8, call_weights.review)
    def review(self, who: Signed, datanet: u32, batch: u32, verdict: Verdict) -> None:
        """Accept or reject a batch, or call it spam and burn its bond; by owner or curator."""
        self._curated(who, datanet)
        if verdict is Verdict.Accept:
            curation.accept(self, datanet, batch)
        else:
            curation.refuse(self, datanet, batch, is_spam=verdict is Verdict.Spam)
        self.emit(self.Reviewed(datanet, batch, verdict, who))

    @call(9, call_weights.withdraw)
    def withdraw(self, who: Signed, datanet: u32, batch: u32) -> None:
        """Take a batch of yours back while it waits for its review; its bond is refunded."""
        self._datanet(datanet)
        curation.withdraw(self, who, datanet, batch)
        self.emit(self.Withdrawn(datanet, batch))

    @call(10, call_weights.publish)
    def publish(self, who: Signed, datanet: u32) -> None:
        """Publish the next version: all batches accepted so far; by the owner."""
        self._owned(who, datanet)
        version = curation.publish(self, datanet)
        self.emit(self.Published(datanet, version.number, version.rows, version.root))

    # --------------------------------------------------------------------------------- API

    @api("DatanetsApi")
    def datanet(self, id: u32) -> DatanetInfo | None:
        """Return a datanet with its counters."""
        record = self.records.get(id)
        return None if record is None else DatanetInfo(id, record, self.progress.get(id))

    @api("DatanetsApi")
    def datanets(self, start: u32, count: u32) -> tuple[DatanetInfo, ...]:
        """Return up to `count` datanets (256 at most) from number `start` on."""
        end = min(start + min(count, PAGE_MAX), self.next_id.get())
        infos = (self.datanet(number) for number in range(start, end))
        return tuple(info for info in infos if info is not None)

    @api("DatanetsApi")
    def batch(self, datanet: u32, number: u32) -> Batch | None:
        """Return a batch of a datanet."""
        return self.contributions.get((datanet, number))

    @api("DatanetsApi")
    def batches(self, datanet: u32, start: u32, count: u32) -> tuple[BatchInfo, ...]:
        """Return up to `count` batches (256 at most) of a datanet from number `start` on."""
        end = min(start + min(count, PAGE_MAX), self.progress.get(datanet).batches)
        return tuple(self._numbered(datanet, number) for number in range(start, end))

    @api("DatanetsApi")
    def accepted_batches(self, datanet: u32, start: u32, count: u32) -> tuple[BatchInfo, ...]:
        """Return up to `count` accepted batches (256 at most) in the order of acceptance.

        The first `version.batches` of them are what a version consists of.
        """
        end = min(start + min(count, PAGE_MAX), self.progress.get(datanet).accepted_batches)
        return tuple(self.accepted_batch(datanet, position) for position in range(start, end))

    @api("DatanetsApi")
    def version(self, datanet: u32, number: u32) -> Version | None:
        """Return a published version of a datanet; the first is number 1."""
        return self.versions.get((datanet, number))

    @api("DatanetsApi")
    def rows_of(self, datanet: u32, account: AccountId) -> u32:
        """Return how many accepted rows of a datanet are from an account."""
        return self.contributed.get((datanet, account))

    @api("DatanetsApi")
    def may_read(self, account: AccountId, datanet: u32) -> bool:
        """Return whether an account may read a datanet and contribute to it."""
        record = self.records.get(datanet)
        if record is None:
            return False
        if record.access is Access.Public or account == record.owner or account in record.curators:
            return True
        return (datanet, account) in self.readers

    # ------------------------------------------------------------------- for other pallets

    def get_version(self, datanet: int, version: int) -> Version | None:
        """Return a published version of a datanet."""
        return self.versions.get((datanet, version))

    def accepted_batch(self, datanet: int, position: int) -> BatchInfo:
        """Return the batch that was accepted as number `position`, from 0 on."""
        number = self.accepted.get((datanet, position))
        assert number is not None, "accepted batches are numbered without gaps"
        return self._numbered(datanet, number)

    def check_invariants(self) -> None:
        """Counters, names, rows and holds agree with the batches."""
        check(self)

    # ---------------------------------------------------------------------------- internal

    def _datanet(self, datanet: int) -> Datanet:
        record = self.records.get(datanet)
        if record is None:
            raise self.UnknownDatanet
        return record

    def _owned(self, who: Signed, datanet: int) -> Datanet:
        record = self._datanet(datanet)
        if record.owner != who:
            raise self.NotOwner
        return record

    def _curated(self, who: Signed, datanet: int) -> Datanet:
        record = self._datanet(datanet)
        if record.owner != who and who not in record.curators:
            raise self.NotCurator
        return record

    def _check_profile(self, profile: Profile) -> None:
        if has_blank_text(profile):
            raise self.MissingText
        if has_long_text(profile):
            raise self.TextTooLong
        if not is_licence(profile.licence):
            raise self.UnknownLicence

    def _numbered(self, datanet: int, number: int) -> BatchInfo:
        batch = self.contributions.get((datanet, number))
        assert batch is not None, "a datanet numbers its batches without gaps"
        return BatchInfo(number, batch)
