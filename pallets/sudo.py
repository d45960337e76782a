"""Sudo: one account that may dispatch calls as root; for development and local chains only.

A chain without a key in its genesis never gets one: every call then fails. Interface and indices
are those of pallet_sudo.
"""

from __future__ import annotations

from pallets import weights
from runtime.codec.scale import Enumeration, scale
from runtime.frame.dispatch import ROOT, DispatchError, DispatchFailed, Error, Origin, Signed
from runtime.frame.events import RuntimeCall
from runtime.frame.pallet import Event, Pallet, call
from runtime.frame.storage import OptionalValue
from runtime.types.primitives import AccountId, MultiAddress, Weight


class DispatchResult(Enumeration):
    """How a dispatched call ended (Result<(), DispatchError>)."""


class Ok(DispatchResult, index=0):
    """The call succeeded."""


class Err(DispatchResult, index=1):
    """The call failed; what it had written is undone."""

    error: DispatchError


@scale
class Genesis:
    """The account that may act as root; None for chains without such an account."""

    key: AccountId | None = None


def sudo_weight(pallet: Pallet, call: RuntimeCall) -> Weight:
    """Return the weight of the inner call and of checking the key."""
    return weights.SUDO_SUDO + pallet._machine.weight_of(call)


def sudo_as_weight(pallet: Pallet, who: MultiAddress, call: RuntimeCall) -> Weight:
    """Return the weight of the inner call and of checking the key."""
    return weights.SUDO_SUDO_AS + pallet._machine.weight_of(call)


class Sudo(Pallet, index=7):
    """One account that may dispatch calls as root; for development and local chains only."""

    key: OptionalValue[AccountId]
    """The account that may dispatch calls as root; none on a chain without sudo."""

    class Sudid(Event, index=0):
        """A call was dispatched as root."""

        sudo_result: DispatchResult

    class KeyChanged(Event, index=1):
        """Another account may act as root from now on."""

        old: AccountId | None
        new: AccountId

    class KeyRemoved(Event, index=2):
        """Nobody may act as root from now on."""

    class SudoAsDone(Event, index=3):
        """A call was dispatched as another account."""

        sudo_result: DispatchResult

    class RequireSudo(Error, index=0):
        """Only the sudo account of this chain may do this; sign with its key."""

    @call(0, sudo_weight)
    def sudo(self, who: Signed, call: RuntimeCall) -> None:
        """Dispatch a call as root; its failure is told by the event."""
        self._check_key(who)
        self.emit(self.Sudid(self._run(call, ROOT)))

    @call(2, weights.SUDO_SET_KEY)
    def set_key(self, who: Signed, new: MultiAddress) -> None:
        """Make another account the one that may act as root."""
        self._check_key(who)
        successor = self.lookup(new)
        self.key.put(successor)
        self.emit(self.KeyChanged(who, successor))

    @call(3, sudo_as_weight)
    def sudo_as(self, who: Signed, account: MultiAddress, call: RuntimeCall) -> None:
        """Dispatch a call as if another account had signed it."""
        self._check_key(who)
        signer = self.lookup(account)
        self.emit(self.SudoAsDone(self._run(call, Origin.signed(signer))))

    @call(4, weights.SUDO_REMOVE_KEY)
    def remove_key(self, who: Signed) -> None:
        """Give up the right to act as root, for good."""
        self._check_key(who)
        self.key.clear()
        self.emit(self.KeyRemoved())

    def build_genesis(self, genesis: Genesis) -> None:
        """Set the key of the chain spec."""
        if genesis.key is not None:
            self.key.put(genesis.key)

    def _check_key(self, who: Signed) -> None:
        if self.key.get() != who:
            raise self.RequireSudo

    def _run(self, call: RuntimeCall, origin: Origin) -> DispatchResult:
        # A transaction of its own: a failed inner call is undone, and the event reports it.
        try:
            with self._machine.transaction():
                self._machine.dispatch(call, origin)
        except (DispatchFailed, Error) as failure:
            return Err(failure.error)
        return Ok()
