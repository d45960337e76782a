"""Blocks on demand (engine_createBlock), for development nodes and their tests."""

from __future__ import annotations

from node.authoring.author import Author
from node.chain.chain import Chain
from node.transactions.pool import Pool
from runtime.types.primitives import Hash


class SealingRefusedError(ValueError):
    """The request cannot be met; the message says why."""


class AuthorSealer:
    """Lets the author make a block now. Blocks of a solo author are final at once."""

    def __init__(self, author: Author, chain: Chain, pool: Pool) -> None:
        self._author = author
        self._chain = chain
        self._pool = pool

    async def create_block(
        self, *, create_empty: bool, finalize: bool, parent: Hash | None
    ) -> Hash:
        """Make a block on the best one. Raises SealingRefusedError."""
        if parent is not None and parent != self._chain.best.hash:
            raise SealingRefusedError("A solo author builds on the best block only.")
        if not create_empty and not self._pool.has_ready:
            raise SealingRefusedError("No transaction is ready; ask for an empty block.")
        executed = await self._author.seal()
        return executed.hash

    async def finalize_block(self, block: Hash, justification: bytes | None, /) -> None:
        """Confirm a final block. Raises SealingRefusedError for one that is not."""
        header = self._chain.header(block)
        if header is None or self._chain.hash_of(header.number) != block:
            raise SealingRefusedError("This block is not on the chain.")
