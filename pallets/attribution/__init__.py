"""Attribution: the earnings of the contributors of a model's rows from its answers.

Inference funds a pool for each model and server; the server closes an epoch with the root of its
receipts; a SETTLE job checks them, looks at the texts of some that chance draws, and shares the
pool by scores; this pallet credits the shares, or convicts the server. What is not shared goes to
the model's commons. Scores are computed elsewhere and agreed on by executors.

This file declares the pallet; what waits for an epoch is in `ledgers`, closing in `declarations`,
what becomes of an epoch in `epochs`, drawn texts in `texts`, claims in `shares`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pallets import weights
from pallets.attribution import declarations, epochs, ledgers, prices, texts
from pallets.attribution import shares as sharing
from pallets.attribution.declarations import Declaration
from pallets.attribution.errors import AttributionErrors
from pallets.attribution.events import AttributionEvents
from pallets.attribution.ledgers import ATTRIBUTION_POT
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
    RecordedIndex,
    ServerLedger,
    are_within_bounds,
)
from pallets.attribution.required_pallets import (
    Blocks,
    Currency,
    JobBoard,
    ModelRegistry,
    ServerBonds,
)
from runtime.codec.scale import u32, u128
from runtime.frame.dispatch import DispatchFailed, Root, Signed
from runtime.frame.pallet import Const, Needs, Pallet, api, call
from runtime.frame.storage import DefaultMap, Map, Value, default
from runtime.shared.documents import Indexed, Settle, Settled, Share
from runtime.trie.merkle import SumProof
from runtime.types.primitives import AccountId, Balance, Hash

__all__ = ["ATTRIBUTION_POT", "Attribution", "Genesis", "Parameters"]

INDEXES_LISTED_MAX: Final = 16
"""The latest index jobs of a model that are listed; the commitments of all are stored."""
LEDGERS_LISTED_MAX: Final = 256


class Attribution(AttributionErrors, AttributionEvents, Pallet, index=23):
    """Pools, epochs and earnings of the contributors behind a model's answers."""

    pot: Const[AccountId] = ATTRIBUTION_POT
    """The account that holds pools, unclaimed shares and commons."""
    maximum_indexes: Const[u32] = INDEXES_LISTED_MAX
    """The most index jobs of one model that are listed."""
    parameters_minimum: Const[Parameters] = PARAMETERS_MIN
    """The least values that root may set as parameters of attribution."""
    parameters_maximum: Const[Parameters] = PARAMETERS_MAX
    """The greatest values that root may set as parameters of attribution."""

    system: Needs[Blocks]
    balances: Needs[Currency]
    models: Needs[ModelRegistry]
    jobs: Needs[JobBoard]
    inference: Needs[ServerBonds]

    governed: Value[Parameters] = default(Parameters())
    """The parameters of attribution that root sets."""
    indexed: Map[u32, RecordedIndex]
    """The commitments of a settled index job, by job."""
    index_jobs: DefaultMap[u32, tuple[u32, ...]] = default(())
    """The latest settled index jobs of a model, the oldest first, by model."""
    ledgers: DefaultMap[tuple[u32, AccountId], Ledger] = default(Ledger())
    """The next epoch of a server's answers, and what waits for it (planck), by model and server."""
    commons: DefaultMap[u32, Balance] = default(0)
    """What epochs of a model left unshared (planck), by model."""
    epochs: Map[tuple[u32, AccountId, u32], Epoch]
    """The closed epochs with their receipts, fees and payouts (planck), by model, server, epoch."""
    at_risk: DefaultMap[AccountId, Balance] = default(0)
    """The fees of all epochs of a server that are being settled, for which its bond answers
    (planck), by account."""
    unsettled: DefaultMap[AccountId, Balance] = default(0)
    """What a server has redeemed for models that pay contributors, and has not closed (planck), by
    account."""
    opened: Map[u32, bool]
    """The models that contributors were paid for, or could be: an index of theirs had the rows."""
    claimed: DefaultMap[tuple[u32, AccountId, u32, u32], u128] = default(0)
    """The shares of an epoch that are credited, a bit for each, by model, server, epoch and word of
    128 positions."""
    shown: Map[tuple[u32, u32], Hash]
    """The file of texts of drawn receipts that a server has shown, by settle job and attempt."""
    shown_content: Map[u32, Hash]
    """The content of these files, decrypted: one for all executors of a settle job, by job."""
    earned: DefaultMap[AccountId, Earning] = default(Earning())
    """The earnings of a contributor in planck, claimable and in all, by account."""
    accounted: Value[Balance] = default(0)
    """All pools, unclaimed shares, claimable earnings and commons together, in planck."""

    # ------------------------------------------------------------------------------- calls

    @call(0, weights.ATTRIBUTION_CLOSE_EPOCH)
    def close_epoch(
        self,
        server: Signed,
        model: u32,
        receipts_root: Hash,
        receipts: u32,
        fees_planck: Balance,
        missing_planck: Balance,
        receipts_blob: Hash,
    ) -> None:
        """Close your current epoch of a model: name the Merkle-sum root of its receipts, their
        number, the sum of their fees, and the file of the receipts, from which executors settle.
        With what you have no receipts for any more the fees are all that you have redeemed since
        the last close; what is due of the missing is slashed. What you redeemed before the model
        first had the rows that attribution pays for is an epoch of its own; without any receipt
        you give it up. You pay the settle job, and answer for the receipts with your bond."""
        declared = Declaration(receipts_root, receipts, fees_planck, receipts_blob, missing_planck)
        declarations.close(self, (model, server), declared)

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
        """Close your latest epoch again, whose settlement failed, with the same receipts; the same
        ones are drawn."""
        declared = Declaration(receipts_root, receipts, fees_planck, receipts_blob)
        declarations.close_again(self, (model, server, epoch), declared)

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
        commons = self.commons.get(model)
        if amount > commons:
            raise self.CommonsTooLow
        ledgers.pay_out(self, dest, amount)
        self.commons.put(model, commons - amount)
        self.emit(self.CommonsSpent(model, dest, amount))

    @call(5, weights.ATTRIBUTION_SET_PARAMETERS, operational=True)
    def set_parameters(self, origin: Root, parameters: Parameters) -> None:
        """Change the parameters of attribution, within their bounds."""
        if not are_within_bounds(parameters):
            raise self.ParametersOutOfBounds
        self.governed.put(parameters)
        self.emit(self.ParametersChanged(parameters))

    @call(6, weights.ATTRIBUTION_CLAIM_SHARE)
    def claim_share(
        self,
        who: Signed,
        model: u32,
        server: AccountId,
        epoch: u32,
        share: Share,
        proof: SumProof,
    ) -> None:
        """Credit a share of a settled epoch to its contributor, by a proof from the epoch's file of
        shares; by anybody. The contributor takes it with claim."""
        sharing.claim(self, (model, server, epoch), share, proof)

    @call(7, weights.ATTRIBUTION_SHOW_TEXTS, operational=True, check=texts.check_show)
    def show_texts(self, server: Signed, job: u32, attempt: u32, blob: Hash, content: Hash) -> None:
        """Name the file with the texts of the drawn receipts of your epoch, encrypted for the
        executors of its settle job, and the hash of what it decrypts to, which is the same for
        all of them."""
        texts.show(self, server, job=job, attempt=attempt, blob=blob, content=content)

    @call(8, weights.ATTRIBUTION_REPORT_WITHHELD)
    def report_withheld(self, who: Signed, job: u32, attempt: u32) -> None:
        """Report a server that has shown the executors of an attempt no texts in time: it loses its
        bond as for false receipts, and the executors that waited are paid."""
        texts.report_withheld(self, job, attempt)

    @call(9, weights.ATTRIBUTION_SWEEP_POOL)
    def sweep_pool(self, who: Signed, model: u32, server: AccountId) -> None:
        """Move the pool of a server that has left into the commons of the model; by anybody."""
        ledgers.sweep(self, (model, server))

    @call(10, weights.ATTRIBUTION_REPORT_OVERDUE)
    def report_overdue(self, who: Signed, model: u32, server: AccountId) -> None:
        """Report a server that has not closed its epoch in time: it is slashed for what is due, and
        the pool goes to the commons."""
        ledgers.report_overdue(self, (model, server))

    # ------------------------------------------------------------------------- runtime API

    @api("AttributionApi")
    def earnings(self, account: AccountId) -> Earning:
        """Return what a contributor can claim and has earned in all."""
        return self.earned.get(account)

    @api("AttributionApi")
    def epoch(self, model: u32, server: AccountId, epoch: u32) -> Epoch | None:
        """Return a closed epoch of a server's answers of a model."""
        return self.epochs.get((model, server, epoch))

    @api("AttributionApi")
    def pool(self, model: u32, server: AccountId) -> Ledger:
        """Return the next epoch of a server's answers of a model, and what waits for it."""
        return self.ledgers.get((model, server))

    @api("AttributionApi")
    def pools(self, model: u32) -> tuple[ServerLedger, ...]:
        """Return the ledgers of a model's servers by account, at most 256."""
        found = sorted((server, ledger) for (_, server), ledger in self.ledgers.items(model))
        return tuple(ServerLedger(*each) for each in found[:LEDGERS_LISTED_MAX])

    @api("AttributionApi")
    def common_pool(self, model: u32) -> Balance:
        """Return what epochs of a model left unshared, in planck."""
        return self.commons.get(model)

    @api("AttributionApi")
    def is_credited(self, model: u32, server: AccountId, epoch: u32, position: u32) -> bool:
        """Return whether the share at a position of a settled epoch is credited."""
        return sharing.is_credited(self, (model, server, epoch), position)

    @api("AttributionApi")
    def texts_of(self, job: u32, attempt: u32) -> Hash | None:
        """Return the file of texts that a server has shown to the executors of an attempt."""
        return self.shown.get((job, attempt))

    @api("AttributionApi")
    def content_of(self, job: u32) -> Hash | None:
        """Return the hash of the texts that a server shows to all executors of a settle job."""
        return self.shown_content.get(job)

    @api("AttributionApi")
    def commitments(self, model: u32) -> tuple[IndexEntry, ...]:
        """Return the commitments of the latest index jobs of a model, the oldest first."""
        entries = []
        for job in self.index_jobs.get(model):
            recorded = self.indexed.get(job)
            assert recorded is not None, "listed index jobs are stored"
            entries.append(IndexEntry(job, recorded.indexed))
        return tuple(entries)

    @api("AttributionApi")
    def recorded_index(self, job: u32) -> RecordedIndex | None:
        """Return the commitments of a settled index job, whichever model it is of."""
        return self.indexed.get(job)

    @api("AttributionApi")
    def parameters(self) -> Parameters:
        """Return the parameters of attribution."""
        return self.governed.get()

    @api("AttributionApi")
    def settlement_price(self, model: u32, receipts: u32) -> Balance:
        """Return what its server pays for the settlement of an epoch of so many receipts, in
        planck."""
        return prices.settlement_price(self, model, receipts)

    # ------------------------------------------------------------------- for other pallets

    def fund(self, model: int, server: AccountId, redeemed_planck: int, part_planck: int) -> int:
        """Count a redemption, whose contributors' part was just paid into ATTRIBUTION_POT; returns
        the epoch that it counts for."""
        return ledgers.fund(self, (model, server), redeemed_planck, part_planck)

    def current_epoch(self, model: int, server: AccountId) -> int:
        """Return the epoch that a server's redemptions of a model count for."""
        return self.ledgers.get((model, server)).epoch

    def first_unsettled_epoch(self, model: int, server: AccountId) -> int:
        """Return the first epoch that may still be settled. A failed one counts until the next is
        closed, because it can be closed again."""
        epoch = self.ledgers.get((model, server)).next_epoch
        latest = self.epochs.get((model, server, epoch - 1)) if epoch else None
        is_open = latest is not None and latest.state in (EpochState.Settling, EpochState.Failed)
        return epoch - 1 if is_open else epoch

    def is_settling(self, server: AccountId) -> bool:
        """Return whether an epoch of a server is being settled."""
        return bool(self.at_risk.get(server))

    def unsettled_of(self, server: AccountId) -> int:
        """Return what a server has redeemed for contributors that it has not closed, in planck."""
        return self.unsettled.get(server)

    def answered_for(self, server: AccountId) -> int:
        """Return what the bond of a server answers for, in planck: what is due, and the fees of
        its epochs that are being settled."""
        return self.unsettled.get(server) + self.at_risk.get(server)

    def is_open(self, model: int) -> bool:
        """Return whether the latest index of a model has the rows that attribution pays for."""
        jobs = self.index_jobs.get(model)
        recorded = self.indexed.get(jobs[-1]) if jobs else None
        return recorded is not None and recorded.indexed.rows >= self.governed.get().rows_minimum

    def has_opened(self, model: int) -> bool:
        """Return whether an index of a model has ever had the rows that attribution pays for."""
        return model in self.opened or self.is_open(model)

    def give_back(
        self, model: int, server: AccountId, redeemed_planck: int, asker: AccountId
    ) -> int:
        """Pay the part of a pool that a channel brought back to its asker; returns it."""
        return ledgers.give_back(self, (model, server), redeemed_planck, asker)

    def record_indexed(self, model: int, job: int, output: Indexed) -> None:
        """Store the commitments of a settled INDEX job."""
        jobs = (*self.index_jobs.get(model), job)
        self.index_jobs.put(model, jobs[-INDEXES_LISTED_MAX:])
        now = self.system.current_number()
        self.indexed.put(job, RecordedIndex(model, now, output))
        if self.is_open(model):
            self.opened.put(model, True)
        self.emit(self.IndexRecorded(model, job))

    def record_settled(self, job: int, spec: Settle, output: Settled) -> None:
        """Pay a settled epoch, or convict its server. Raises NotSettling, OutputDiffers."""
        epochs.settle(self, spec, output)
        texts.forget(self, job)

    def record_settlement_failed(self, job: int, spec: Settle, is_withheld: bool) -> None:
        """Put the pool of an epoch back, because its SETTLE job ended without a result; where most
        executors could not read the texts that its server owes them, convict the server."""
        if is_withheld:
            epochs.convict(self, spec, false_planck=0)
        else:
            epochs.give_pool_back(self, spec)
        texts.forget(self, job)

    # ----------------------------------------------------------------- genesis, invariants

    def build_genesis(self, genesis: Genesis) -> None:
        """Set the parameters and make the pot."""
        assert are_within_bounds(genesis.parameters), "parameters of attribution within bounds"
        self.governed.put(genesis.parameters)
        self.system.create_pot(ATTRIBUTION_POT)

    def check_invariants(self) -> None:
        """Pools, unclaimed shares, claimable earnings and commons lie in the pot.

        Anyone can transfer tokens to the pot's account, so it may hold more, never less.
        """
        total = sum(amount for _, amount in self.commons.items())
        at_risk: dict[AccountId, int] = {}
        due: dict[AccountId, int] = {}
        for (model, server), ledger in self.ledgers.items():
            assert ledger.pool <= ledger.redeemed_planck, "a pool is a part of what was redeemed"
            total += ledger.pool
            assert ledger.early_planck <= ledger.redeemed_planck, "what came early was redeemed"
            if ledger.due_planck:
                assert model in self.opened, "what is due was open"
                due[server] = due.get(server, 0) + ledger.due_planck
            if ledger.settling is not None:
                record = self.epochs.get((model, server, ledger.settling))
                assert record is not None, "the epoch being settled exists"
                assert record.state is EpochState.Settling, "one epoch is settled at a time"
                at_risk[server] = at_risk.get(server, 0) + record.fees_planck
                assert model in self.opened, "what is settled was open"
        assert at_risk == dict(self.at_risk.items()), "fees being settled add up"
        assert due == dict(self.unsettled.items()), "what is due adds up"
        for (model, server, number), epoch in self.epochs.items():
            assert epoch.claimed_planck <= epoch.shares_planck <= epoch.pool_planck, "shares"
            if epoch.state is EpochState.Settling:
                total += epoch.pool_planck
            elif epoch.state is EpochState.Settled:
                total += epoch.shares_planck - epoch.claimed_planck
            elif epoch.state is EpochState.Failed:
                ledger = self.ledgers.get((model, server))
                assert ledger.epoch == number + 1, "only the latest epoch can be closed again"
                assert epoch.fees_planck <= ledger.redeemed_planck, "and its money waits for it"
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
        ledgers.pay_out(self, account, earning.claimable)
        self.earned.put(account, replace(earning, claimable=0))
        self.emit(self.Claimed(account, earning.claimable))
