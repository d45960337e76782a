"""Models: base models that executors know, and the LoRA models that people train on datanets.

    created (private) -> trained -> indexed -> published -> retired

Rules that hold here: a model is private until its owner publishes it; publishing deploys exactly
the adapter that was trained, indexed and named in the call; a later training never touches the
deployed adapter before it is published in its turn; its owner may name other published versions of
datanets for the trainings to come, and a training counts for those that its own job names, whatever
the model names when it ends.
"""

from __future__ import annotations

from dataclasses import replace

from pallets import weights
from pallets.balances import HoldReason
from pallets.models.records import (
    BASE_NAME_BYTES_MAX,
    CREATION_DEPOSIT,
    PAGE_MAX,
    RATE_MAX,
    Base,
    Deployment,
    Genesis,
    Model,
    ModelInfo,
    Stage,
    Training,
)
from pallets.models.required_pallets import Currency, DatanetRegistry
from pallets.names import is_name, name_key
from pallets.required_system import BlockNumber
from runtime.codec.scale import u32, u64
from runtime.frame.dispatch import Error, Root, Signed
from runtime.frame.pallet import Const, Event, Needs, Pallet, api, call
from runtime.frame.storage import Map, Value, default
from runtime.shared.documents import DATANETS_MAX, DatanetVersion, Indexed, Trained
from runtime.types.primitives import AccountId, Balance, Hash, Weight

__all__ = [
    "Base",
    "Deployment",
    "Genesis",
    "Model",
    "ModelInfo",
    "Models",
    "Stage",
    "Training",
]


def create_weight(
    pallet: Models,
    name: str,
    base: Hash,
    datanets: tuple[DatanetVersion, ...],
    rate_in_planck: int,
    rate_out_planck: int,
) -> Weight:
    """Return the weight of creating a model: each datanet version is looked up."""
    return weights.models_create(len(datanets))


def set_datanets_weight(pallet: Models, model: int, datanets: tuple[DatanetVersion, ...]) -> Weight:
    """Return the weight of naming other datanets: each version is looked up."""
    return weights.models_set_datanets(len(datanets))


class Models(Pallet, index=21):
    """Base models, and models that are trained on datanets, published and retired."""

    creation_deposit: Const[Balance] = CREATION_DEPOSIT
    """The amount held from the owner of a model until it is retired, in planck."""
    max_datanets: Const[u32] = DATANETS_MAX
    """The most datanets that one model is trained on."""
    max_rate: Const[Balance] = RATE_MAX
    """The greatest rate of a model, in planck per 1,000 tokens."""

    balances: Needs[Currency]
    system: Needs[BlockNumber]
    datanets: Needs[DatanetRegistry]

    bases: Map[Hash, Base]
    """The base models that can be trained on, by the content hash of their files."""
    next_id: Value[u32] = default(0)
    """The number of the next model."""
    records: Map[u32, Model]
    """Owner, base, datanets, rates, training and deployment of a model, by model."""
    names: Map[str, u32]
    """The model that has a name, by the name in lower case."""

    class BaseRegistered(Event, index=0):
        """A base model may be trained on from now on."""

        base: Hash
        name: str

    class Created(Event, index=1):
        """A model was created; it is private to its owner."""

        model: u32
        owner: AccountId
        base: Hash

    class TrainingRecorded(Event, index=2):
        """A training job of a model settled on this adapter."""

        model: u32
        job: u32
        adapter: Hash

    class IndexRecorded(Event, index=3):
        """The rows behind the latest adapter of a model were sketched; it can be published."""

        model: u32
        job: u32

    class Published(Event, index=4):
        """A model was published; everybody may ask it."""

        model: u32
        adapter: Hash

    class RatesSet(Event, index=5):
        """A model asks another price from now on, in planck per 1,000 tokens."""

        model: u32
        rate_in_planck: Balance
        rate_out_planck: Balance

    class Retired(Event, index=6):
        """A model answers no more; its deposit was refunded."""

        model: u32

    class DatanetsSet(Event, index=7):
        """A model is trained on other datanet versions from now on; these have so many rows."""

        model: u32
        datanets: tuple[DatanetVersion, ...]
        rows: u32

    class UnknownModel(Error, index=0):
        """There is no model with this number; look it up in the list of models."""

    class NotOwner(Error, index=1):
        """Only the owner of the model may do this; sign with the owner's key."""

    class UnknownBase(Error, index=2):
        """No base model is registered under this content hash; choose a registered one."""

    class BaseRegisteredAlready(Error, index=3):
        """A base model is registered under this content hash already; nothing is left to do."""

    class InvalidName(Error, index=4):
        """A name has 3 to 64 letters, digits, blanks, dots, dashes or underscores and begins and
        ends with a letter or digit; correct it."""

    class NameTaken(Error, index=5):
        """Another model has this name (letter case aside); choose another one."""

    class DatanetCount(Error, index=6):
        """A model is trained on 1 to 16 datanets, each named once; change the list."""

    class UnknownVersion(Error, index=7):
        """A datanet has no such published version; publish it first or name another one."""

    class NoAccess(Error, index=8):
        """This account may not read one of the datanets; request access or ask its owner."""

    class RateTooHigh(Error, index=9):
        """A rate is above 1,000,000 OPEN per 1,000 tokens; lower it."""

    class NotTrained(Error, index=10):
        """The model has no settled training job; train it first."""

    class NotIndexed(Error, index=11):
        """The rows behind the model's adapter are not sketched yet; wait for its index job."""

    class WrongAdapter(Error, index=12):
        """This is not the adapter of the model's latest training; name the one you tested."""

    class AlreadyPublished(Error, index=13):
        """This adapter is the published one already; train again before publishing again."""

    class IsRetired(Error, index=14):
        """The model is retired and stays so; create another one."""

    class StaleIndex(Error, index=15):
        """The model was trained again since this index job began; its newer index job counts."""

    # ------------------------------------------------------------------------------- calls

    @call(0, weights.MODELS_REGISTER_BASE)
    def register_base(
        self, origin: Root, base: Hash, name: str, parameters: u64, context_tokens: u32
    ) -> None:
        """Let models be trained on a base, named by the content hash of its files; by root."""
        if not name or len(name.encode()) > BASE_NAME_BYTES_MAX:
            raise self.InvalidName
        if base in self.bases:
            raise self.BaseRegisteredAlready
        self.bases.put(base, Base(name, parameters, context_tokens))
        self.emit(self.BaseRegistered(base, name))

    @call(1, create_weight)
    def create(
        self,
        owner: Signed,
        name: str,
        base: Hash,
        datanets: tuple[DatanetVersion, ...],
        rate_in_planck: Balance,
        rate_out_planck: Balance,
    ) -> None:
        """Create a private model on published datanet versions; a deposit is held from you."""
        if not is_name(name):
            raise self.InvalidName
        if name_key(name) in self.names:
            raise self.NameTaken
        if base not in self.bases:
            raise self.UnknownBase
        rows = self._check_datanets(owner, datanets)
        self._check_rates(rate_in_planck, rate_out_planck)
        number = self.next_id.get()
        self.balances.hold(HoldReason.ModelDeposit, owner, CREATION_DEPOSIT)
        self.next_id.put(number + 1)
        self.names.put(name_key(name), number)
        model = Model(
            owner=owner,
            name=name,
            base=base,
            datanets=datanets,
            rows=rows,
            rate_in_planck=rate_in_planck,
            rate_out_planck=rate_out_planck,
            latest=None,
            deployed=None,
            is_retired=False,
            created_at=self.system.current_number(),
            deposit_planck=CREATION_DEPOSIT,
        )
        self.records.put(number, model)
        self.emit(self.Created(number, owner, base))

    @call(2, weights.MODELS_PUBLISH)
    def publish(self, who: Signed, model: u32, adapter: Hash) -> None:
        """Let everybody ask a model; `adapter` is the trained and indexed one that you tested."""
        record = self._owned(who, model)
        latest = record.latest
        if latest is None:
            raise self.NotTrained
        if latest.index_job is None:
            raise self.NotIndexed
        if latest.trained.adapter != adapter:
            raise self.WrongAdapter
        deployed = record.deployed
        if deployed is not None and deployed.training.index_job == latest.index_job:
            raise self.AlreadyPublished
        now = self.system.current_number()
        deployment = Deployment(latest, now)
        self.records.put(model, replace(record, deployed=deployment))
        self.emit(self.Published(model, adapter))

    @call(3, weights.MODELS_SET_RATES)
    def set_rates(
        self, who: Signed, model: u32, rate_in_planck: Balance, rate_out_planck: Balance
    ) -> None:
        """Set what a model asks per 1,000 tokens of question and of answer, in planck. Vouchers of
        before are still paid by the former rates."""
        record = self._owned(who, model)
        self._check_rates(rate_in_planck, rate_out_planck)
        now = self.system.current_number()
        self.records.put(model, record.with_rates(rate_in_planck, rate_out_planck, now))
        self.emit(self.RatesSet(model, rate_in_planck, rate_out_planck))

    @call(4, weights.MODELS_RETIRE)
    def retire(self, who: Signed, model: u32) -> None:
        """Take a model out of service for good; its deposit is refunded."""
        record = self._owned(who, model)
        self.balances.release(HoldReason.ModelDeposit, record.owner, record.deposit_planck)
        self.records.put(model, replace(record, is_retired=True, deposit_planck=0))
        self.emit(self.Retired(model))

    @call(5, set_datanets_weight)
    def set_datanets(self, who: Signed, model: u32, datanets: tuple[DatanetVersion, ...]) -> None:
        """Name the published datanet versions that a model is trained on from now on. Trainings
        under way and the published adapter keep theirs."""
        record = self._owned(who, model)
        rows = self._check_datanets(who, datanets)
        self.records.put(model, replace(record, datanets=datanets, rows=rows))
        self.emit(self.DatanetsSet(model, datanets, rows))

    # --------------------------------------------------------------------------------- API

    @api("ModelsApi")
    def model(self, id: u32) -> ModelInfo | None:
        """Return a model with its stage."""
        record = self.records.get(id)
        return None if record is None else ModelInfo(id, record.stage, record)

    @api("ModelsApi")
    def models(self, start: u32, count: u32) -> tuple[ModelInfo, ...]:
        """Return up to `count` models (256 at most) from number `start` on."""
        end = min(start + min(count, PAGE_MAX), self.next_id.get())
        infos = (self.model(number) for number in range(start, end))
        return tuple(info for info in infos if info is not None)

    @api("ModelsApi")
    def model_named(self, name: str) -> ModelInfo | None:
        """Return the model with this name; letter case does not count."""
        number = self.names.get(name_key(name))
        return None if number is None else self.model(number)

    @api("ModelsApi")
    def base(self, hash: Hash) -> Base | None:
        """Return the base model with this content hash."""
        return self.bases.get(hash)

    @api("ModelsApi")
    def may_use(self, account: AccountId, model: u32) -> bool:
        """Return whether an account may ask a model: anyone a published one, else its owner."""
        record = self.records.get(model)
        if record is None or record.is_retired:
            return False
        return record.deployed is not None or record.owner == account

    # ------------------------------------------------------------------- for other pallets

    def get(self, model: int) -> Model | None:
        """Return a model."""
        return self.records.get(model)

    def rows_of(self, model: int) -> int:
        """Return how many published rows are behind a model; 0 for an unknown one."""
        record = self.records.get(model)
        return 0 if record is None else record.rows

    def record_trained(self, model: int, job: int, output: Trained) -> None:
        """Note the adapter that a training job settled on. Raises UnknownModel, IsRetired."""
        record = self._in_service(model)
        self.records.put(model, replace(record, latest=Training(job, output, None)))
        self.emit(self.TrainingRecorded(model, job, output.adapter))

    def record_indexed(
        self, model: int, job: int, output: Indexed, train_job: int | None = None
    ) -> None:
        """Note that the rows behind the latest adapter are sketched.

        Raises UnknownModel, IsRetired, NotTrained, and StaleIndex where `train_job` is given and
        is not the latest training any more.
        """
        record = self._in_service(model)
        latest = record.latest
        if latest is None:
            raise self.NotTrained
        if train_job is not None and train_job != latest.train_job:
            raise self.StaleIndex
        self.records.put(model, replace(record, latest=replace(latest, index_job=job)))
        self.emit(self.IndexRecorded(model, job))

    def build_genesis(self, genesis: Genesis) -> None:
        """Register the base models of the chain spec."""
        for content, base in genesis.bases:
            assert content not in self.bases, f"base {content.hex()} is twice in genesis"
            self.bases.put(content, base)

    def check_invariants(self) -> None:
        """Names, rows and deposits agree with the models."""
        deposits: dict[AccountId, int] = {}
        names: dict[str, int] = {}
        for number, model in self.records.items():
            names[name_key(model.name)] = number
            deposits[model.owner] = deposits.get(model.owner, 0) + model.deposit_planck
            assert model.deposit_planck == (0 if model.is_retired else CREATION_DEPOSIT), "deposit"
            assert model.base in self.bases, "a model stands on a registered base"
            versions = [
                self.datanets.get_version(use.datanet, use.version) for use in model.datanets
            ]
            assert model.rows == sum(version.rows for version in versions if version), "rows"
        assert names == dict(self.names.items()), "names and models differ"
        assert sorted(names.values()) == list(range(self.next_id.get())), "a number is missing"
        for owner, total in deposits.items():
            deposit = self.balances.held(HoldReason.ModelDeposit, owner)
            assert deposit == total, f"deposits of {owner.hex()} do not sum up"

    # ---------------------------------------------------------------------------- internal

    def _in_service(self, model: int) -> Model:
        record = self.records.get(model)
        if record is None:
            raise self.UnknownModel
        if record.is_retired:
            raise self.IsRetired
        return record

    def _owned(self, who: Signed, model: int) -> Model:
        record = self.records.get(model)
        if record is None:
            raise self.UnknownModel
        if record.owner != who:
            raise self.NotOwner
        return self._in_service(model)

    def _check_datanets(self, owner: AccountId, uses: tuple[DatanetVersion, ...]) -> int:
        """Return the number of rows of published versions. Raises the Error of what is wrong."""
        if not 1 <= len(uses) <= DATANETS_MAX or len({use.datanet for use in uses}) < len(uses):
            raise self.DatanetCount
        rows = 0
        for use in uses:
            version = self.datanets.get_version(use.datanet, use.version)
            if version is None:
                raise self.UnknownVersion
            if not self.datanets.may_read(owner, use.datanet):
                raise self.NoAccess
            rows += version.rows
        return rows

    def _check_rates(self, rate_in_planck: int, rate_out_planck: int) -> None:
        if max(rate_in_planck, rate_out_planck) > RATE_MAX:
            raise self.RateTooHigh
