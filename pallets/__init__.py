"""The business rules. This is the one place that lists the pallets: the tuple that IS the chain."""

from pallets.balances import Balances
from pallets.system import System
from pallets.timestamp import Timestamp
from pallets.transaction_payment import TransactionPayment

PALLETS = (System, Timestamp, Balances, TransactionPayment)
