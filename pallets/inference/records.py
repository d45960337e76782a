"""The stored values of Inference: channels, parameters, payouts; and the limits on them."""

from __future__ import annotations

from typing import Final

from runtime.codec.scale import scale, u16, u32
from runtime.shared.shares import PERMILLE
from runtime.types.primitives import OPEN, AccountId, Balance

PLATFORM_POT: Final = AccountId(b"modlopen/platform".ljust(32, b"\0"))
"""Where the platform's part goes that is not burned."""
DEPOSIT_MIN: Final = OPEN // 100
TOKENS_PER_RATE: Final = 1_000
PLATFORM_FEE_MAX: Final = OPEN
PLATFORM_PERMILLE: Final = range(20, 301)
OWNER_PERMILLE: Final = range(501)
STAKERS_PERMILLE: Final = range(501)
CONTRIBUTORS_PERMILLE: Final = range(300, 901)
BURN_PERMILLE: Final = range(100, 1_001)
CHALLENGE_BLOCKS: Final = range(5, 1_000_001)


@scale
class Parameters:
    """The parameters that root sets: fee per request, shares of a payment, challenge window.

    The four shares add up to 1,000; `burn_permille` of the platform's share is burned.
    """

    platform_fee_planck: Balance = OPEN // 10_000
    platform_permille: u16 = 100
    owner_permille: u16 = 200
    stakers_permille: u16 = 200
    contributors_permille: u16 = 500
    burn_permille: u16 = 500
    challenge_blocks: u32 = 100

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
        )


@scale
class Rates:
    """The price list of a model, in planck: per 1,000 tokens in, per 1,000 out, per request."""

    rate_in_planck: Balance
    rate_out_planck: Balance
    platform_fee_planck: Balance

    def fee(self, tokens_in: int, tokens_out: int) -> int:
        """Return what an answer costs, in planck, rounded up."""
        scaled: int = tokens_in * self.rate_in_planck + tokens_out * self.rate_out_planck
        return -(-scaled // TOKENS_PER_RATE) + self.platform_fee_planck


@scale
class Genesis:
    """The parameters that the chain begins with."""

    parameters: Parameters = Parameters()


@scale
class Channel:
    """Tokens of an asker that a server may draw from by vouchers; `closes_at` once closing."""

    asker: AccountId
    server: AccountId
    model: u32
    deposit_planck: Balance
    redeemed_planck: Balance
    closes_at: u32 | None

    @property
    def left_planck(self) -> int:
        """The part of the deposit that is still held."""
        return self.deposit_planck - self.redeemed_planck


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
