"""The stored values of Inference: channels, servers, parameters, payouts; and their limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from runtime.codec.scale import scale, u16, u32
from runtime.shared.shares import PERMILLE
from runtime.types.primitives import OPEN, AccountId, Balance

PLATFORM_POT: Final = AccountId(b"modlopen/platform".ljust(32, b"\0"))
"""Where the platform's part goes that is not burned."""
DEPOSIT_MIN: Final = OPEN // 100
PLATFORM_FEE_MAX: Final = OPEN
PLATFORM_PERMILLE: Final = range(20, 301)
OWNER_PERMILLE: Final = range(501)
STAKERS_PERMILLE: Final = range(501)
CONTRIBUTORS_PERMILLE: Final = range(300, 901)
BURN_PERMILLE: Final = range(100, 1_001)
CHALLENGE_BLOCKS: Final = range(5, 1_000_001)
RETENTION_BLOCKS: Final = range(1, 10_000_001)
SERVER_BOND: Final = range(OPEN, 10_000_000 * OPEN + 1)
MARKS_MAX: Final = 2
"""An epoch that is being settled and the current one: older beginnings are asked for no more."""


@scale
class Parameters:
    """The parameters that root sets: fee per request, shares of a payment, times in blocks.

    The four shares add up to 1,000; `burn_permille` of the platform's share is burned. A server
    bonds at least `server_bond_planck`. A closed channel is kept for `retention_blocks`, in which
    its asker can report a false receipt.
    """

    platform_fee_planck: Balance = OPEN // 10_000
    platform_permille: u16 = 100
    owner_permille: u16 = 200
    stakers_permille: u16 = 200
    contributors_permille: u16 = 500
    burn_permille: u16 = 500
    challenge_blocks: u32 = 100
    retention_blocks: u32 = 14_400
    server_bond_planck: Balance = 100 * OPEN

    @property
    def shares(self) -> tuple[int, int, int, int]:
        """The permilles of platform, model owner, stakers and contributors."""
        return (
            self.platform_permille,
            self.owner_permille,
            self.stakers_permille,
            self.contributors_permille,
        )

    @property
    def is_within_bounds(self) -> bool:
        """Return whether every parameter is within the bounds that this code sets."""
        return (
            self.platform_fee_planck <= PLATFORM_FEE_MAX
            and self.platform_permille in PLATFORM_PERMILLE
            and self.owner_permille in OWNER_PERMILLE
            and self.stakers_permille in STAKERS_PERMILLE
            and self.contributors_permille in CONTRIBUTORS_PERMILLE
            and sum(self.shares) == PERMILLE
            and self.burn_permille in BURN_PERMILLE
            and self.challenge_blocks in CHALLENGE_BLOCKS
            and self.retention_blocks in RETENTION_BLOCKS
            and self.server_bond_planck in SERVER_BOND
        )


@scale
class FormerFee:
    """The platform's fee before its last change; vouchers that end by `until` may still name it."""

    platform_fee_planck: Balance
    until: u32


@scale
class Server:
    """An account that may serve answers, with its bond in planck and the channels to it that are
    kept. From `leaving_at` on no channel is opened to it."""

    bond_planck: Balance
    channels: u32 = 0
    leaving_at: u32 | None = None
    slashed_planck: Balance = 0


@scale
class GenesisServer:
    """A server that is bonded from the first block; its account is endowed."""

    account: AccountId
    bond_planck: Balance


@scale
class Genesis:
    """The parameters and the servers that the chain begins with."""

    parameters: Parameters = Parameters()
    servers: tuple[GenesisServer, ...] = ()


@scale
class Mark:
    """What was redeemed of a channel when an epoch of its server began, in planck."""

    epoch: u32
    redeemed_planck: Balance


@scale
class Channel:
    """Tokens of an asker that a server may draw from by vouchers; `closes_at` once closing.

    `sequence` is that of the last voucher redeemed. `marks` has the epochs in which something was
    redeemed, the latest two. `repaid_planck` is what its asker got back: out of the bond for false
    receipts, and of what waited for contributors that can never be paid. A closed channel is kept
    while it may be needed as evidence.
    """

    asker: AccountId
    server: AccountId
    model: u32
    deposit_planck: Balance
    redeemed_planck: Balance = 0
    sequence: u32 = 0
    closes_at: u32 | None = None
    is_closed: bool = False
    marks: tuple[Mark, ...] = ()
    repaid_planck: Balance = 0

    @property
    def left_planck(self) -> int:
        """The part of the deposit that is still held."""
        return self.deposit_planck - self.redeemed_planck

    def redeemed_before(self, epoch: int) -> int:
        """Return what was redeemed before an epoch began, one settled now or later, in planck."""
        for mark in self.marks:
            if mark.epoch >= epoch:
                return mark.redeemed_planck
        return self.redeemed_planck

    def redeemed_in(self, epoch: int) -> int:
        """Return what was redeemed in an epoch, one settled now or later, in planck."""
        return self.redeemed_before(epoch + 1) - self.redeemed_before(epoch)

    def marked(self, epoch: int) -> Channel:
        """Return the channel with the beginning of an epoch marked, if it is not marked yet."""
        if self.marks and self.marks[-1].epoch == epoch:
            return self
        mark = Mark(epoch, self.redeemed_planck)
        return replace(self, marks=(*self.marks, mark)[-MARKS_MAX:])

    def without_marks(self) -> Channel:
        """Return the channel as if it had redeemed in no epoch: all that waited was given back."""
        return replace(self, marks=())


@scale
class ChannelInfo:
    """A channel with its number, as clients ask for it."""

    id: u32
    channel: Channel


@scale
class Payout:
    """How one payment was split, in planck."""

    burned: Balance
    platform: Balance
    owner: Balance
    stakers: Balance
    contributors: Balance
