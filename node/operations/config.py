"""The node's configuration: one dataclass, read from a file, then the environment, then flags.

A later source wins. The file is TOML with the fields' names as keys; an environment variable is
OPENLEDGER_ and the name in capitals. Unknown names and wrong types are refused with the place.
"""

from __future__ import annotations

import dataclasses
import enum
import tomllib
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import platformdirs

from genesis.amounts import ValueTextError, parse_amount
from genesis.spec import PRESETS
from node.operations.log_levels import LogLevelError, parse_log_levels
from p2p.protocols.address_book import peer_of
from p2p.transport.multiaddress import (
    listen_address,
    parse_dialable_address,
    parse_peer_address,
)
from p2p.transport.transport import AddressError
from runtime.errors import ExitCode, OpenLedgerError
from runtime.shared.receipts import VOUCHER_BLOCKS_MAX

ENVIRONMENT_PREFIX: Final = "OPENLEDGER_"
BLOCK_TIME_MS: Final = 1_000
STATE_PRUNING: Final = 256
STATE_PRUNING_MIN: Final = 16
"""A peer that takes a state by fast sync needs it for a while after it became final."""
STATE_PRUNING_MAX: Final = 1 << 32
PEERS_MAX: Final = 96
REDEEM_BLOCKS_MAX: Final = 7_000
"""Vouchers live at most VOUCHER_BLOCKS_MAX blocks, and a server asks for twice this."""
TRUE_WORDS: Final = ("1", "true", "yes", "on")
FALSE_WORDS: Final = ("0", "false", "no", "off")


class ConfigError(OpenLedgerError, ValueError):
    """A setting cannot be used; the message names its source and what is expected."""

    exit_code = ExitCode.USAGE


class SettingsError(ConfigError):
    """Settings out of their range, or that exclude each other: their names, and what is wrong."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(sentence for _, sentence in problems))
        self.problems = tuple(problems)


class Sealing(enum.StrEnum):
    """When blocks are made."""

    AUTO = "auto"
    """Instant on the chains `dev` and `local`, consensus on every other."""
    INSTANT = "instant"
    """A block as soon as a transaction is ready, and an empty one each `block_time_ms`."""
    INTERVAL = "interval"
    """A block each `block_time_ms`."""
    MANUAL = "manual"
    """A block when asked (engine_createBlock)."""
    CONSENSUS = "consensus"
    """Blocks are proposed and decided by a network (node/finality/participant.py)."""


class SyncMode(enum.StrEnum):
    """How a node that starts with nothing gets the chain."""

    FULL = "full"
    """Executes every block from genesis on."""
    FAST = "fast"
    """Follows justifications to a recent block and takes its state, proven, from peers."""


class LogFormat(enum.StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


def default_base_path() -> Path:
    """Return the folder for this user's chain data."""
    return Path(platformdirs.user_data_dir("openledger"))


@dataclasses.dataclass(frozen=True, slots=True)
class NodeConfig:
    """Every setting of a node."""

    base_path: Path = dataclasses.field(default_factory=default_base_path)
    chain: str = "dev"
    name: str = "openledger-node"
    rpc_host: str = "127.0.0.1"
    rpc_port: int = 9944
    sealing: Sealing = Sealing.AUTO
    block_time_ms: int = BLOCK_TIME_MS
    archive: bool = False
    """Keep the states of all blocks."""
    state_pruning: int = STATE_PRUNING
    """How many final blocks below the newest keep their states; an archive keeps all."""
    log_format: LogFormat = LogFormat.TEXT
    log_level: str = "info"
    """A level, or levels of modules as well: info,p2p.service=debug."""
    account: str = "//Alice"
    """Whose key signs for this node: a development URI, or the name of a key in the keystore."""
    password_file: Path | None = None
    executor: bool = True
    serve: bool = True
    base_model: str = ""
    """The base model's folder; empty means the one that is shipped."""
    redeem_amount: str = "1OPEN"
    """How much a channel may owe this server before it is redeemed; at once when it closes."""
    redeem_blocks: int = 300
    """For how many final blocks a channel may owe something before it is redeemed."""
    threads: int = 2
    """Threads of the processor for training and answers."""
    p2p_host: str = "127.0.0.1"
    """An IPv4 or IPv6 address or a host name; 0.0.0.0 and :: are all interfaces."""
    p2p_port: int = 30333
    bootnodes: tuple[str, ...] = ()
    """Multiaddresses to dial first; in a variable they are separated by commas."""
    reserved_peers: tuple[str, ...] = ()
    """Multiaddresses of peers that are always dialled and always admitted."""
    public_addresses: tuple[str, ...] = ()
    """Multiaddresses at which others reach this node, where it cannot know them itself."""
    mdns: bool = False
    """Find the nodes of this chain on the local network, and be found."""
    peers_max: int = 50
    validator: bool = False
    """True where this node votes, with its session key."""
    session_key: str = ""
    """Whose key votes, in the same words as `account`; empty means the key of `account`."""
    signer: Path | None = None
    """The socket of a remote signer, which then holds the session key."""
    session_password_file: Path | None = None
    """Opens the session key; unless given, the file that opens the account's key does."""
    doppelganger: bool = True
    """Listen for votes of one's own key before the first vote."""
    instant: bool = False
    """Propose as soon as a transaction is ready, not only each `block_time_ms`."""
    control: bool = False
    """Open the control socket of devnets: partitions, latency, pace."""
    sync: SyncMode = SyncMode.FULL

    @property
    def redeem_planck(self) -> int:
        """The amount of `redeem_amount`. Raises ConfigError."""
        try:
            return parse_amount(self.redeem_amount)
        except ValueTextError as error:
            raise ConfigError(f"redeem_amount: {error}") from error

    @property
    def is_networked(self) -> bool:
        """Return whether a network makes the blocks, by consensus."""
        if self.sealing is Sealing.AUTO:
            return self.chain not in PRESETS
        return self.sealing is Sealing.CONSENSUS

    def __post_init__(self) -> None:
        problems = (*self._value_problems(), *self._address_problems())
        if problems:
            raise SettingsError(problems)

    def _value_problems(self) -> Iterator[tuple[str, str]]:
        """Yield the settings out of their range, each with what is wrong."""
        for name, least, most in (
            ("rpc_port", 0, (1 << 16) - 1),
            ("p2p_port", 0, (1 << 16) - 1),
            ("peers_max", 1, PEERS_MAX),
            ("state_pruning", STATE_PRUNING_MIN, STATE_PRUNING_MAX),
            ("block_time_ms", 10, 3_600_000),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                yield name, f"{name} is {least} to {most}, not {value}"
        yield from self._redeem_problems()
        if self.threads < 1:
            yield "threads", f"threads is at least 1, not {self.threads}"
        if self.sync is SyncMode.FAST and self.archive:
            yield "sync", "an archive node holds every state, so it cannot use sync = fast"
        if self.archive and self.state_pruning != STATE_PRUNING:
            yield "archive", "an archive node prunes no state; leave out archive or state_pruning"
        try:
            parse_log_levels(self.log_level)
        except LogLevelError as error:
            yield "log_level", f"log_level: {error}"

    def _redeem_problems(self) -> Iterator[tuple[str, str]]:
        try:
            if self.redeem_planck < 1:
                yield (
                    "redeem_amount",
                    f"redeem_amount is at least 1 planck, not {self.redeem_planck}",
                )
        except ConfigError as error:
            yield "redeem_amount", str(error)
        if not 1 <= self.redeem_blocks <= REDEEM_BLOCKS_MAX:
            yield (
                "redeem_blocks",
                f"redeem_blocks is 1 to {REDEEM_BLOCKS_MAX}, not {self.redeem_blocks}: vouchers "
                f"live for {VOUCHER_BLOCKS_MAX} blocks at most, twice as long",
            )

    def _address_problems(self) -> Iterator[tuple[str, str]]:
        """Yield the settings with addresses that can never be reached."""
        texts = {
            "bootnodes": (self.bootnodes, parse_peer_address),
            "reserved_peers": (self.reserved_peers, parse_peer_address),
            "public_addresses": (self.public_addresses, parse_dialable_address),
            "p2p_host": ((self.p2p_host,), lambda host: listen_address(host, self.p2p_port)),
        }
        problems = []
        for name, (values, parse) in texts.items():
            for value in values:
                try:
                    parse(value)
                except AddressError as error:
                    problems.append((name, f"{name}: {error}"))
        yield from problems
        reserved = 0 if problems else len({peer_of(address) for address in self.reserved_peers})
        if reserved >= self.peers_max > 0:
            yield (
                "reserved_peers",
                f"reserved_peers: {reserved} peers leave no slot of peers_max = {self.peers_max} "
                "for others. Raise peers_max, or reserve fewer.",
            )


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> NodeConfig:
    """Merge the three sources over the defaults. Flags that are None do not count.

    Raises ConfigError with all that is wrong, each with its place.
    """
    hints = typing.get_type_hints(NodeConfig)
    merged: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    for source, name, value in _given(file, environment, flags, hints):
        place = f"{source}: {name}" if source == str(file) else source
        try:
            _check_known(name, hints, source)
            merged[name] = _convert(hints[name], value, place)
            places[name] = source
        except ConfigError as error:
            problems.append(str(error))
    try:
        config = NodeConfig(**merged)
    except SettingsError as error:
        problems += [
            f"{places.get(name, 'defaults')}: {sentence}" for name, sentence in error.problems
        ]
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _given(
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
    names: Collection[str],
) -> Iterator[tuple[str, str, Any]]:
    """Yield the source, name and value of every setting that is given, the strongest ones last."""
    for name, value in (read_file(file) if file is not None else {}).items():
        yield str(file), name, value
    for key, text in sorted(environment.items()):
        name = key.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key.startswith(ENVIRONMENT_PREFIX) and name in names:
            yield key, name, text
    for name, value in flags.items():
        if value is not None:
            yield f"--{name}", name, value


def read_file(file: Path) -> dict[str, Any]:
    """Return the settings of a TOML file, unchecked. Raises ConfigError."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error}") from error


def _check_known(name: str, names: Collection[str], source: str) -> None:
    if name in names:
        return
    close = get_close_matches(name.lower().replace("-", "_"), names, n=1)
    meant = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names)}."
    raise ConfigError(f"{source}: there is no setting {name!r}. {meant}")


def _convert(hint: Any, value: Any, place: str) -> Any:
    if hint is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in TRUE_WORDS + FALSE_WORDS:
            return str(value).lower() in TRUE_WORDS
        raise ConfigError(f"{place}: true or false is expected, not {value!r}")
    if hint == tuple[str, ...]:
        # An empty word after a comma is none; one that was written by itself is a mistake.
        words = (
            [word for word in value.split(",") if word.strip()] if isinstance(value, str) else value
        )
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise ConfigError(f"{place}: a list of texts is expected, not {value!r}")
        return tuple(word.strip() for word in words)
    if hint is int:
        try:
            if isinstance(value, bool | float):
                raise ValueError("not whole")
            return int(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{place}: a whole number is expected, not {value!r}") from error
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        if value not in list(hint):
            raise ConfigError(f"{place}: one of {', '.join(hint)} is expected, not {value!r}")
        return hint(value)
    if not isinstance(value, str if hint is str else str | Path):
        kind = "text" if hint is str else "path"
        raise ConfigError(f"{place}: a {kind} is expected, not {value!r}")
    if hint is str:
        return value
    # An empty text is how a file or a variable says that an optional path is not set.
    return None if hint == Path | None and value == "" else Path(value)
