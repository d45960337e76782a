"""Attribution: the earnings of the contributors of a model's rows from its answers.

Inference funds a model's pool; who serves the model closes an epoch with the root of its receipts,
for at most the fees that its own channels brought; a SETTLE job nets the scores of each contributor
over the whole epoch; this pallet pays on their lower bounds and puts what the bound withholds into
the model's commons. Scores are computed elsewhere and agreed on by executors; here they are only
divided by.

The tokens of all pools, unclaimed earnings and commons lie in ATTRIBUTION_POT.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final, Protocol

from pallets import weights
from pallets.attribution import epochs as closing
from pallets.attribution.records import (
    PARAMETERS_MAX,
    PARAMETERS_MIN,
    Earning,
    Epoch,
    EpochState,
    Genesis,
    IndexEntry,
    Ledger,
    Parameters,
    Penalty,
    are_within_bounds,
    decayed,
)
from pallets.required_system import BlockNumber, Pots
from runtime.codec.scale import u32, u128
from runtime.frame.dispatch import Error, Root, Signed
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import DefaultMap, Map, Value, default
from runtime.shared.documents import Indexed, JobSpec, Settled
from runtime.trie.merkle import SumProof, verify_sum
from runtime.types.primitives import AccountId, Balance, Hash

__all__ = ["ATTRIBUTION_POT", "Attribution", "Genesis", "Parameters"]

ATTRIBUTION_POT: Final = AccountId(b"modlopen/attribution".ljust(32, b"\0"))
"""Where the tokens of pools, unclaimed earnings and commons lie."""

INDEXES_MAX: Final = 16
"""Index jobs of a model whose commitments are stored; the oldest is removed."""


class Currency(Protocol):
    """The part of Balances that Attribution calls."""

    def free(self, who: AccountId) -> int: ...
    def transfer(self, source: AccountId, dest: AccountId, amount: int) -> None: ...


class Blocks(BlockNumber, Pots, Protocol):
    """The part of System that Attribution calls."""


class ModelRegistry(Protocol):
    """The part of Models that Attribution calls."""

    def get(self, model: int) -> object | None: ...
    def rows_of(self, model: int) -> int: ...


class JobBoard(Protocol):
    """The part of Jobs that Attribution calls."""

    def price(self, spec: JobSpec) -> int | None: ...
    def open(self, spec: JobSpec, owner: AccountId, escrow_planck: int) -> int: ...


class Attribution(Pallet, index=23):
    """Pools, epochs and earnings of the contributors behind a model's answers."""

    pot: Const[AccountId] = ATTRIBUTION_POT
    """The account that holds pools, unclaimed earnings and commons."""
    maximum_indexes: Const[u32] = INDEXES_MAX
    """The most index jobs of one model whose commitments are stored."""
    parameters_minimum: Const[Parameters] = PARAMETERS_MIN
    """The least values that root may set as parameters of attribution."""
    parameters_maximum: Const[Parameters] = PARAMETERS_MAX
    """The greatest values that root may set as parameters of attribution."""

    system: Needs[Blocks]
    balances: Needs[Currency]
    models: Needs[ModelRegistry]
    jobs: Needs[JobBoard]

    governed: Value[Parameters] = default(Parameters())
    """The parameters of attribution that root sets."""
    indexed: Map[u32, Indexed]
    """The commitments of a settled index job, by job."""
    index_jobs: DefaultMap[u32, tuple[u32, ...]] = default(())
    """The latest settled index jobs of a model, the oldest first, by model."""
    ledgers: DefaultMap[u32, Ledger] = default(Ledger())
    """Current epoch, pool and commons (planck) of a model, by model."""
    brought: DefaultMap[tuple[u32, AccountId], Balance] = default(0)
    """The part of a model's pool (planck) that came from the channels of a server, by model and
    server; only that server closes epochs of it."""
    epochs: Map[tuple[u32, u32], Epoch]
    """The closed epochs with their receipts, fees and payouts (planck), by model and epoch."""
    earned: DefaultMap[AccountId, Earning] = default(Earning())
    """The earnings of a contributor in planck, claimable and in all, by account."""
    penalties: DefaultMap[tuple[u32, AccountId], Penalty] = default(Penalty())
    """The penalty points of a contributor, in permille of the scores of epochs, by model and
    account."""
    accounted: Value[Balance] = default(0)
    """All pools, epochs in settlement, claimable earnings and commons together, in planck."""

    class IndexRecorded(Event, index=0):
        """The commitments of attribution of a trained model were recorded."""

        model: u32
        job: u32

    class Funded(Event, index=1):
        """The pool of a model received the contributors' part of a fee."""

        model: u32
        amount: Balance

    class EpochClosed(Event, index=2):
        """An epoch was closed; a settle job nets its receipts."""

        model: u32
        epoch: u32
        job: u32
        fees_planck: Balance

    class EpochSettled(Event, index=3):
        """An epoch was paid out to its contributors and the commons."""

        model: u32
        epoch: u32
        paid_planck: Balance
        commons_planck: Balance

    class SettlementFailed(Event, index=4):
        """The settlement of an epoch failed; its fees are in the pool again."""

        model: u32
        epoch: u32

    class Earned(Event, index=5):
        """A contributor earned from an epoch; it can claim the amount."""

        model: u32
        epoch: u32
        contributor: AccountId
        amount: Balance

    class Claimed(Event, index=6):
        """A contributor's earnings were paid out."""

        contributor: AccountId
        amount: Balance

    class Penalised(Event, index=7):
        """A contributor's net score was negative; these are its points now."""

        model: u32
        contributor: AccountId
        points: u128

    class CommonsSpent(Event, index=8):
        """Root spent from the commons of a model."""

        model: u32
        dest: AccountId
        amount: Balance

    class ParametersChanged(Event, index=9):
        """Root changed the parameters of attribution."""

        parameters: Parameters

    class UnknownModel(Error, index=0):
        """There is no such model. Look at the list of models."""

    class NotServer(Error, index=1):
        """Nothing in this model's pool came from your channels. Redeem vouchers for it first."""

    class GateClosed(Error, index=2):
        """The model has too few published rows for attribution. The pool waits until it has the
        minimum; publish more rows and train on them."""

    class NotIndexed(Error, index=3):
        """The model has no settled index job. Wait for the one that follows its training."""

    class EpochSettling(Error, index=4):
        """An epoch of this model is being settled. Close the next one when that has ended."""

    class NothingToSettle(Error, index=5):
        """An epoch without receipts or fees pays nobody. Close it when there are some."""

    class TooManyReceipts(Error, index=6):
        """The epoch has more receipts than one settlement may have. Close epochs more often."""

    class FeesExceedPool(Error, index=7):
        """The receipts claim more fees than your channels brought. Redeem their vouchers first."""

    class NotFailed(Error, index=8):
        """Only an epoch whose settlement failed can be closed again. Close the current one."""

    class NotSettling(Error, index=9):
        """The epoch is not being settled. Its settle job comes too late."""

    class OutputDiffers(Error, index=10):
        """The settlement does not repeat the receipts and fees that the epoch was closed with."""

    class EntriesUnsorted(Error, index=11):
        """The entries of a settlement are not sorted by account, or one is there twice."""

    class NothingToClaim(Error, index=12):
        """Nothing has been earned since the last claim. Wait for the next settlement."""

    class CommonsTooLow(Error, index=13):
        """The commons of this model hold less than that. Spend at most what they hold."""

    class ParametersOutOfBounds(Error, index=14):
        """A parameter is out of bounds. Compare with ParametersMinimum and ParametersMaximum."""

    # ------------------------------------------------------------------------------- calls

    @call(0, weights.ATTRIBUTION_CLOSE_EPOCH)
    def close_epoch(
        self,
        server: Signed,
        model: u32,
        receipts_root: Hash,
        receipts: u32,
        fees_planck: Balance,
        receipts_blob: Hash,
    ) -> None:
        """Close the current epoch of a model that you serve: name the Merkle-sum root of its
        receipts, their number, the sum of their contributors' fees, and the file of the receipts,
        from which executors settle. You pay the settle job."""
        closing.check_model(self, model)
        epoch = self.ledgers.get(model).epoch
        closing.close(
            self,
            who=server,
            model=model,
            epoch=epoch,
            receipts_root=receipts_root,
            receipts=receipts,
            fees_planck=fees_planck,
            receipts_blob=receipts_blob,
        )

    @call(1, weights.ATTRIBUTION_CLOSE_AGAIN)
    def close_again(
        self,
        server: Signed,
        model: u32,
        epoch: u32,
        receipts_root: Hash,
        receipts: u32,
        fees_planck: Balance,
        receipts_blob: Hash,
    ) -> None:
        """Close an epoch again whose settlement failed, with the same or corrected receipts."""
        closing.check_model(self, model)
        record = self.epochs.get((model, epoch))
        if record is None or record.state is not EpochState.Failed:
            raise self.NotFailed
        closing.close(
            self,
            who=server,
            model=model,
            epoch=epoch,
            receipts_root=receipts_root,
            receipts=receipts,
            fees_planck=fees_planck,
            receipts_blob=receipts_blob,
        )

    @call(2, weights.ATTRIBUTION_CLAIM)
    def claim(self, who: Signed) -> None:
        """Take what your rows have earned."""
        self._pay_claim(who)

    @call(3, weights.ATTRIBUTION_CLAIM_FOR)
    def claim_for(self, who: Signed, account: AccountId) -> None:
        """Pay a contributor what its rows have earned; the tokens go to the contributor."""
        self._pay_claim(account)

    @call(4, weights.ATTRIBUTION_SPEND_COMMONS)
    def spend_commons(self, origin: Root, model: u32, dest: AccountId, amount: Balance) -> None:
        """Spend from the commons of a model."""
        ledger = self.ledgers.get(model)
        if amount > ledger.commons:
            raise self.CommonsTooLow
        self.balances.transfer(ATTRIBUTION_POT, dest, amount)
        self.ledgers.put(model, replace(ledger, commons=ledger.commons - amount))
        self.accounted.put(self.accounted.get() - amount)
        self.emit(self.CommonsSpent(model, dest, amount))

    @call(5, weights.ATTRIBUTION_SET_PARAMETERS, operational=True)
    def set_parameters(self, origin: Root, parameters: Parameters) -> None:
        """Change the parameters of attribution, within their bounds."""
        if not are_within_bounds(parameters):
            raise self.ParametersOutOfBounds
        self.governed.put(parameters)
        self.emit(self.ParametersChanged(parameters))

    # ------------------------------------------------------------------------- runtime API

    @api("AttributionApi")
    def earnings(self, account: AccountId) -> Earning:
        """Return what a contributor can claim and has earned in all."""
        return self.earned.get(account)

    @api("AttributionApi")
    def epoch(self, model: u32, epoch: u32) -> Epoch | None:
        """Return a closed epoch of a model."""
        return self.epochs.get((model, epoch))

    @api("AttributionApi")
    def pool(self, model: u32) -> Ledger:
        """Return current epoch, pool and commons of a model."""
        return self.ledgers.get(model)

    @api("AttributionApi")
    def commitments(self, model: u32) -> tuple[IndexEntry, ...]:
        """Return the commitments of a model's index jobs, the oldest first."""
        entries = []
        for job in self.index_jobs.get(model):
            indexed = self.indexed.get(job)
            assert indexed is not None, "listed index jobs are recorded"
            entries.append(IndexEntry(job, indexed))
        return tuple(entries)

    @api("AttributionApi")
    def penalty(self, model: u32, account: AccountId) -> u128:
        """Return the penalty points of a contributor at a model, as of the current epoch."""
        penalty = self.penalties.get((model, account))
        now = max(self.ledgers.get(model).epoch, penalty.epoch)
        return decayed(penalty, now, self.governed.get().decay_permille)

    @api("AttributionApi")
    def parameters(self) -> Parameters:
        """Return the parameters of attribution."""
        return self.governed.get()

    @api("AttributionApi")
    def verify_receipt(
        self, model: u32, epoch: u32, receipt: Hash, fee_planck: Balance, proof: SumProof
    ) -> bool:
        """Return whether a receipt with this contributors' fee was counted in a closed epoch."""
        record = self.epochs.get((model, epoch))
        if record is None or proof.count != record.receipts:
            return False
        return verify_sum(
            root=record.receipts_root,
            total=record.fees_planck,
            leaf=receipt,
            amount=fee_planck,
            proof=proof,
        )

    # ------------------------------------------------------------------- for other pallets

    def fund(self, model: int, amount: int, server: AccountId) -> None:
        """Add to a model's pool what a server's channel paid into ATTRIBUTION_POT just before."""
        ledger = self.ledgers.get(model)
        self.ledgers.put(model, replace(ledger, pool=ledger.pool + amount))
        self.brought.put((model, server), self.brought.get((model, server)) + amount)
        self.accounted.put(self.accounted.get() + amount)
        self.emit(self.Funded(model, amount))

    def current_epoch(self, model: int) -> int:
        """Return the epoch that a model's receipts carry now."""
        return self.ledgers.get(model).epoch

    def record_indexed(self, model: int, job: int, output: Indexed) -> None:
        """Store the commitments of a settled INDEX job."""
        jobs = (*self.index_jobs.get(model), job)
        for dropped in jobs[:-INDEXES_MAX]:
            self.indexed.remove(dropped)
        self.index_jobs.put(model, jobs[-INDEXES_MAX:])
        self.indexed.put(job, output)
        self.emit(self.IndexRecorded(model, job))

    def record_settled(self, model: int, epoch: int, output: Settled) -> None:
        """Pay a settled epoch. Raises NotSettling, OutputDiffers, EntriesUnsorted."""
        closing.settle(self, model, epoch, output)

    def record_settlement_failed(self, model: int, epoch: int) -> None:
        """Give the fees of an epoch back to the pool, because its SETTLE job ended without one."""
        closing.refund_fees(self, model, epoch)

    # ----------------------------------------------------------------- genesis, invariants

    def build_genesis(self, genesis: Genesis) -> None:
        """Set the parameters and make the pot."""
        assert are_within_bounds(genesis.parameters), "parameters of attribution within bounds"
        self.governed.put(genesis.parameters)
        self.system.create_pot(ATTRIBUTION_POT)

    def check_invariants(self) -> None:
        """Pools, epochs being settled, claimable earnings and commons lie in the pot.

        Anyone can transfer tokens to the pot's account, so it may hold more, never less.
        """
        total = 0
        pools: Counter[int] = Counter()
        for (model, _), amount in self.brought.items():
            pools[model] += amount
        for model, ledger in self.ledgers.items():
            assert ledger.pool == pools[model], "a pool is what its servers brought"
            total += ledger.pool + ledger.commons
            if ledger.settling is not None:
                record = self.epochs.get((model, ledger.settling))
                assert record is not None, "the epoch being settled exists"
                assert record.state is EpochState.Settling, "one epoch is settled at a time"
                total += record.fees_planck
        earned = [earning for _, earning in self.earned.items()]
        total += sum(earning.claimable for earning in earned)
        assert all(earning.claimable <= earning.lifetime for earning in earned), "lifetime"
        assert total == self.accounted.get(), "what is owed is what was funded and not paid"
        assert total <= self.balances.free(ATTRIBUTION_POT), "what is owed lies in the pot"

    # ---------------------------------------------------------------------------- internal

    def _pay_claim(self, account: AccountId) -> None:
        earning = self.earned.get(account)
        if not earning.claimable:
            raise self.NothingToClaim
        self.balances.transfer(ATTRIBUTION_POT, account, earning.claimable)
        self.earned.put(account, replace(earning, claimable=0))
        self.accounted.put(self.accounted.get() - earning.claimable)
        self.emit(self.Claimed(account, earning.claimable))
