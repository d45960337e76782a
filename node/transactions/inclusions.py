"""Inclusions: transactions of the pool in blocks of the best branch that are not final yet."""

from __future__ import annotations

from typing import Final

from node.transactions.entry import Entry
from node.transactions.status import FinalityTimeout, InBlock, InFinalBlock, Retracted
from runtime.types.primitives import Hash

FINALITY_BLOCKS_MAX: Final = 512
"""How long a watcher waits in a block for finality."""


class Inclusions:
    """Blocks of the best branch above the final one, in order, with the entries they include."""

    def __init__(self) -> None:
        self.transactions: dict[Hash, Entry] = {}
        self.blocks: dict[Hash, tuple[int, list[Entry]]] = {}

    def __contains__(self, transaction: Hash) -> bool:
        return transaction in self.transactions

    def include(self, entry: Entry, block: Hash, number: int) -> None:
        """Record that a block includes a transaction."""
        entry.block = block
        self.transactions[entry.hash] = entry
        self.blocks.setdefault(block, (number, []))[1].append(entry)
        entry.notify(InBlock(block))

    def retract(self, block: Hash) -> list[Entry]:
        """Forget a block that left the best branch; returns what it included."""
        entries = self._pop(block)
        for entry in entries:
            entry.block = None
            entry.notify(Retracted(block))
        return entries

    def finalize(self, block: Hash) -> None:
        """Forget a block that is final; its watchers get their last status."""
        for entry in self._pop(block):
            entry.notify(InFinalBlock(block), last=True)

    def time_out(self, best: int) -> None:
        """End the watches of blocks far below the best one: finality did not come."""
        for block, (number, entries) in self.blocks.items():
            if best - number < FINALITY_BLOCKS_MAX:
                break
            for entry in entries:
                entry.notify(FinalityTimeout(block), last=True)

    def _pop(self, block: Hash) -> list[Entry]:
        entries = self.blocks.pop(block, (0, []))[1]
        for entry in entries:
            del self.transactions[entry.hash]
        return entries
