"""The business rules. This is the one place that lists the pallets: the tuple that IS the chain."""

from pallets.balances import Balances
from pallets.system import System
from pallets.timestamp import Timestamp
from pallets.transaction_payment import TransactionPayment
from runtime.machine import Machine
from runtime.primitives import RuntimeVersion

PALLETS = (System, Timestamp, Balances, TransactionPayment)

VERSION = RuntimeVersion(
    spec_name="openledger",
    impl_name="openledger-node",
    authoring_version=1,
    spec_version=1,
    impl_version=1,
    apis=(),
    transaction_version=1,
    state_version=1,
)


def compose() -> Machine:
    """Return a new machine of this chain's runtime."""
    return Machine(PALLETS, VERSION)
