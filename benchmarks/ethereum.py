"""The same transfers on py-evm: signed value transfers, decoded, recovered, applied and sealed.

py-evm's own in-memory chain of its fork Berlin (no base fee, no blobs: the least work of the forks
with today's state rules), blocks by `mine_all`, proof of work left out. Its signatures are
recovered by coincurve (libsecp256k1) and hashed by pycryptodome, the fastest that it can use.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.figures import comparison

GAS_OF_A_TRANSFER: Final = 21_000
GAS_PRICE: Final = 1
BALANCE_WEI: Final = 10**24
AMOUNT_WEI: Final = 10**15
SENDERS_MAX: Final = 20_000
DISTRIBUTIONS: Final = ("coincurve", "pycryptodome")


@dataclass(slots=True)
class EvmLedger:
    """A py-evm chain to run transfers on."""

    chain: Any
    keys: Sequence[Any]
    addresses: Sequence[bytes]
    nonces: list[int]
    random: random.Random

    def transfers(self, count: int) -> list[bytes]:
        """Sign transfers of `count` different senders, each to any other account."""
        raws = []
        for position in self.random.sample(range(len(self.keys)), count):
            unsigned = self.chain.create_unsigned_transaction(
                nonce=self.nonces[position],
                gas_price=GAS_PRICE,
                gas=GAS_OF_A_TRANSFER,
                to=self.random.choice(self.addresses),
                value=AMOUNT_WEI,
                data=b"",
            )
            raws.append(unsigned.as_signed_transaction(self.keys[position]).encode())
            self.nonces[position] += 1
        return raws

    def block(self, raws: Sequence[bytes]) -> None:
        """Decode transfers and make a sealed block of them."""
        builder = self.chain.get_vm().get_transaction_builder()
        transactions = [builder.decode(raw) for raw in raws]
        result, receipts, computations = self.chain.mine_all(transactions)
        assert len(result.imported_block.transactions) == len(raws) == len(receipts)
        assert not any(computation.is_error for computation in computations)


def opened_evm(accounts: int, seed: int) -> EvmLedger:
    """Make an in-memory chain with this many funded accounts. Raises CannotRunError."""
    chains = comparison("eth.chains.base", "py-evm", DISTRIBUTIONS)
    forks = comparison("eth.vm.forks", "py-evm", DISTRIBUTIONS)
    consensus = comparison("eth.consensus.noproof", "py-evm", DISTRIBUTIONS)
    constants = comparison("eth.constants", "py-evm", DISTRIBUTIONS)
    atomic = comparison("eth.db.atomic", "py-evm", DISTRIBUTIONS)
    eth_keys = comparison("eth_keys", "eth-keys", DISTRIBUTIONS)

    source = random.Random(seed)
    keys = [
        eth_keys.keys.PrivateKey(source.randbytes(32)) for _ in range(min(accounts, SENDERS_MAX))
    ]
    addresses = [key.public_key.to_canonical_address() for key in keys]
    addresses += [source.randbytes(20) for _ in range(accounts - len(keys))]
    berlin = forks.BerlinVM.configure(consensus_class=consensus.NoProofConsensus)
    kind = chains.MiningChain.configure(
        "BenchmarkChain", vm_configuration=((constants.GENESIS_BLOCK_NUMBER, berlin),), chain_id=1
    )
    parameters = {
        "coinbase": constants.ZERO_ADDRESS,
        "difficulty": 1,
        "extra_data": constants.GENESIS_EXTRA_DATA,
        "gas_limit": 60_000_000,
        "mix_hash": constants.GENESIS_MIX_HASH,
        "nonce": constants.GENESIS_NONCE,
        "timestamp": 1,
    }
    rich = {"balance": BALANCE_WEI, "nonce": 0, "code": b"", "storage": {}}
    state = dict.fromkeys(addresses, rich)
    chain = kind.from_genesis(atomic.AtomicDB(), parameters, state)
    return EvmLedger(
        chain=chain, keys=keys, addresses=addresses, nonces=[0] * len(keys), random=source
    )
