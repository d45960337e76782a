"""The business rules. This is the one place that lists the pallets: the tuple that IS the chain."""

from pallets.attribution import Attribution
from pallets.authorship import Authorship
from pallets.balances import Balances
from pallets.datanets import Datanets
from pallets.inference import Inference
from pallets.jobs import Jobs
from pallets.models import Models
from pallets.offences import Offences
from pallets.randomness import Randomness
from pallets.session import Session
from pallets.staking import Staking
from pallets.sudo import Sudo
from pallets.system import System
from pallets.timestamp import Timestamp
from pallets.transaction_payment import TransactionPayment
from pallets.utility import Utility
from runtime.frame.machine import Machine
from runtime.types.primitives import RuntimeVersion

PALLETS = (
    System,
    Utility,
    Timestamp,
    Balances,
    TransactionPayment,
    Sudo,
    Authorship,  # first of its kind: who made the block is known to the pallets after it
    Randomness,
    Offences,
    Staking,
    Session,  # after those that the last block of an epoch still counts for
    Datanets,
    Models,
    Jobs,
    Attribution,
    Inference,
)

VERSION = RuntimeVersion(
    spec_name="openledger",
    impl_name="openledger-node",
    authoring_version=1,
    spec_version=6,
    impl_version=1,
    apis=(),
    transaction_version=5,
    state_version=1,
)


def compose() -> Machine:
    """Return a new machine of this chain's runtime."""
    return Machine(PALLETS, VERSION)
