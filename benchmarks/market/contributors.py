"""A contributor: it waits for its shares, and reports servers that do not close their epochs."""

from __future__ import annotations

from benchmarks.market.parties import Party
from benchmarks.market.terms import MODEL


class Contributor(Party):
    """An honest contributor."""

    @property
    def turn(self) -> int:
        """Which of the contributors this is."""
        return self.world.contributors.index(self.name)

    def act(self) -> None:
        """Report every server that is overdue; contributors take turns."""
        if self.block % len(self.world.contributors) != self.turn:
            return
        for name in self.world.servers:
            server = self.world.parties[name].account
            self.chain.attempt(
                self.account, "Attribution", "report_overdue", model=MODEL, server=server
            )
