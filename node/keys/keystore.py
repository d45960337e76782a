"""Encrypted keys on disk, in the JSON form of polkadot.js (version 3), readable there and written
there: scrypt turns the password into a key, xsalsa20-poly1305 seals a PKCS8 record of the secret.

Each file is named after its address. Files have mode 0600, the folder 0700; a file appears whole or
not at all. An sr25519 secret is written in the ed25519-style form that polkadot.js uses.

Rules that hold here:
- A name is not empty and cannot be taken for something else: an address, a path such as //Alice.
- The scrypt costs are those of a fixed list: a file cannot ask for gigabytes or hours.
- What is unsealed must give the account that the file names, or it is refused.
- An empty password is refused: polkadot.js takes it for no encryption at all.
- No password and no secret appears in an error.
"""

import json
import os
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import scrypt
from pathlib import Path
from typing import Final

import sr25519
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from ml.durable_file import sync_folder, write_durably
from node.keys.key_name import check_name
from runtime.crypto import ss58
from runtime.crypto.keys import KeyKind, Keypair
from runtime.errors import ExitCode, OpenLedgerError

FILE_BYTES_MAX: Final = 64 * 1024
FILE_MODE: Final = 0o600
FOLDER_MODE: Final = 0o700
VERSION: Final = "3"

_SEALING: Final = ["scrypt", "xsalsa20-poly1305"]
_KINDS: Final = {kind.name.lower(): kind for kind in KeyKind}
_SALT_BYTES: Final = 32
_COST_BYTES: Final = 12
_NONCE_BYTES: Final = SecretBox.NONCE_SIZE
_SCRYPT_MEMORY_MAX: Final = 192 * 1024 * 1024
_PKCS8_HEAD: Final = bytes.fromhex("3053020101300506032b657004220420")
_PKCS8_DIVIDER: Final = bytes.fromhex("a123032100")


class KeystoreError(OpenLedgerError):
    """Anything that keeps a key from being stored or read; one subclass for each cause."""

    exit_code = ExitCode.LOCKED


class WrongPasswordError(KeystoreError):
    """The password does not open the file."""


class EmptyPasswordError(KeystoreError):
    """A key was to be sealed with no password."""

    exit_code = ExitCode.USAGE


class DamagedKeyFileError(KeystoreError):
    """The file is no key file, or its parts do not fit one another."""

    exit_code = ExitCode.DATA


class KeyFileVersionError(KeystoreError):
    """The file has another version, sealing or key kind than those known here."""


class ScryptCostError(KeystoreError):
    """The file asks for scrypt costs outside the known list."""


class KeyNotFoundError(KeystoreError):
    """No key has this address or name."""

    exit_code = ExitCode.USAGE


class LinkedKeyError(KeystoreError):
    """The key's file lies elsewhere, and only a link to it in the keystore."""

    exit_code = ExitCode.USAGE


class KeyExistsError(KeystoreError):
    """The address or the name is already taken."""

    exit_code = ExitCode.USAGE


class KeyFileModeError(KeystoreError):
    """Others than the owner may read the key file."""


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """The work that opening a file takes: memory is 128 * n * r bytes."""

    n: int
    p: int
    r: int = 8


COST: Final = ScryptCost(1 << 17, 1)
LIGHT_COST: Final = ScryptCost(1 << 15, 1)
KNOWN_COSTS: Final = (
    ScryptCost(1 << 13, 10),
    ScryptCost(1 << 14, 5),
    ScryptCost(1 << 15, 3),
    LIGHT_COST,
    ScryptCost(1 << 16, 2),
    COST,
)


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key as its file describes it, without opening it."""

    address: str
    account: bytes
    kind: KeyKind
    name: str
    path: Path


class Keystore:
    """A folder of encrypted keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self, pair: Keypair, password: str, name: str = "", cost: ScryptCost = COST
    ) -> KeyEntry:
        """Store a key under its address and an optional name.

        Raises KeyExistsError, KeyNameError, EmptyPasswordError.
        """
        if name:
            check_name(name)
        address = ss58.encode(pair.account)
        for entry in self.entries():
            if entry.account == pair.account or (name and entry.name == name):
                raise KeyExistsError(
                    f"The keystore already has a key {entry.name or entry.address}. "
                    "Choose another name, or remove that key first."
                )
        text = seal(pair, password, name=name, cost=cost)
        path = self.folder / f"{address}.json"
        self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self.folder.chmod(FOLDER_MODE)
        _write_whole(path, text)
        return KeyEntry(address, pair.account, pair.kind, name, path)

    def entries(self) -> list[KeyEntry]:
        """Return the keys of the folder, sorted by address; raises DamagedKeyFileError."""
        return [_describe(path) for path in sorted(self.folder.glob("*.json"))]

    def find(self, name: str) -> KeyEntry:
        """Return the key with this address or name; raises KeyNotFoundError."""
        entries = self.entries()
        for entry in entries:
            if name and name in (entry.name, entry.address):
                return entry
        known = ", ".join(entry.name or entry.address for entry in entries) or "none"
        raise KeyNotFoundError(f"There is no key {name!r} in {self.folder}. It has: {known}.")

    def load(self, name: str, password: str) -> Keypair:
        """Open the key with this address or name; raises KeystoreError's subclasses."""
        path = self.find(name).path
        if path.stat().st_mode & 0o077:
            raise KeyFileModeError(
                f"{path} may be read by others. Set its mode with: chmod 600 {path}"
            )
        return unseal(_read(path), password)

    def remove(self, name: str) -> None:
        """Delete the key with this address or name; raises KeyNotFoundError, LinkedKeyError."""
        path = self.find(name).path
        if path.is_symlink():
            raise LinkedKeyError(
                f"{path} is a link to {path.resolve()}: without the link, the key would still lie "
                "there. Remove both files by hand."
            )
        path.unlink()
        sync_folder(self.folder)

    def rename(self, name: str, new_name: str) -> KeyEntry:
        """Give the key with this address or name another name; its password stays.

        Raises KeyNotFoundError, KeyNameError, KeyExistsError.
        """
        check_name(new_name)
        entry = self.find(name)
        for other in self.entries():
            if other.path != entry.path and new_name == other.name:
                raise KeyExistsError(
                    f"The keystore already has a key {new_name}. Choose another name, or rename "
                    "that key first."
                )
        document = dict(_parse(_read(entry.path)))
        meta = document.get("meta")
        document["meta"] = {**(meta if isinstance(meta, dict) else {}), "name": new_name}
        _replace_whole(entry.path, document)
        return _describe(entry.path)

    def change_password(
        self, name: str, password: str, new_password: str, cost: ScryptCost = COST
    ) -> KeyEntry:
        """Seal the key with this address or name by another password.

        A crash leaves the file under the old password or under the new one. Raises
        KeystoreError's subclasses.
        """
        pair = self.load(name, password)
        entry = self.find(name)
        former = _parse(_read(entry.path))
        document = json.loads(seal(pair, new_password, cost=cost))
        _replace_whole(entry.path, {**former, **document, "meta": former.get("meta", {})})
        return _describe(entry.path)


def seal(pair: Keypair, password: str, *, name: str = "", cost: ScryptCost = COST) -> str:
    """Return the JSON text of a key file; raises EmptyPasswordError."""
    if not password:
        raise EmptyPasswordError("A key needs a password. Choose one that is not empty.")
    secret = pair.secret
    if pair.kind is KeyKind.SR25519:
        secret = sr25519.convert_secret_key_to_ed25519(secret)
    record = _PKCS8_HEAD + secret + _PKCS8_DIVIDER + pair.account
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    sealed = SecretBox(_stretch(password, salt, cost)).encrypt(record, nonce).ciphertext
    costs = b"".join(number.to_bytes(4, "little") for number in (cost.n, cost.p, cost.r))
    document = {
        "encoded": b64encode(salt + costs + nonce + sealed).decode(),
        "encoding": {
            "content": ["pkcs8", pair.kind.name.lower()],
            "type": _SEALING,
            "version": VERSION,
        },
        "address": ss58.encode(pair.account),
        "meta": {"name": name} if name else {},
    }
    return json.dumps(document, indent=2) + "\n"


def unseal(text: str, password: str) -> Keypair:
    """Return the key of a key file.

    Raises WrongPasswordError, DamagedKeyFileError, KeyFileVersionError, ScryptCostError.
    """
    document = _parse(text)
    kind, account = _kind_of(document), _account_of(document)
    sealed = _bytes_of(document.get("encoded"))
    if len(sealed) < _SALT_BYTES + _COST_BYTES + _NONCE_BYTES + SecretBox.MACBYTES:
        raise _damaged("the sealed part is too short")
    salt, rest = sealed[:_SALT_BYTES], sealed[_SALT_BYTES:]
    n, p, r = (int.from_bytes(rest[at : at + 4], "little") for at in (0, 4, 8))
    cost = ScryptCost(n, p, r)
    if cost not in KNOWN_COSTS:
        raise ScryptCostError(
            f"The key file asks for scrypt costs n={n}, p={p}, r={r}, which no wallet writes. "
            "Export the key again from the wallet that it came from."
        )
    box = SecretBox(_stretch(password, salt, cost))
    at = _COST_BYTES + _NONCE_BYTES
    try:
        record = box.decrypt(rest[at:], rest[_COST_BYTES:at])
    except CryptoError as error:
        raise WrongPasswordError(
            "The password does not open the key, or the file was changed. Try the password again."
        ) from error
    pair = _pair_of(record, kind)
    if pair.account != account:
        raise _damaged("its secret belongs to another address")
    return pair


def _pair_of(record: bytes, kind: KeyKind) -> Keypair:
    """Read a PKCS8 record as polkadot.js writes it, with a 64-byte secret or a 32-byte seed."""
    head = len(_PKCS8_HEAD)
    for size in (64, 32):
        end = head + size
        tail = end + len(_PKCS8_DIVIDER)
        if (
            record[:head] == _PKCS8_HEAD
            and record[end:tail] == _PKCS8_DIVIDER
            and len(record) == tail + 32
        ):
            secret, public = record[head:end], record[tail:]
            break
    else:
        raise _damaged("what it seals is not a PKCS8 record of a key")
    if kind is KeyKind.ED25519 or size == 32:
        pair = Keypair.from_seed(secret[:32], kind)
    else:
        try:
            account, own_secret = sr25519.pair_from_ed25519_secret_key(secret)
        except ValueError as error:
            raise _damaged("its secret is no sr25519 key") from error
        pair = Keypair(kind, account, own_secret)
    if pair.account != public:
        raise _damaged("its secret does not fit its public key")
    return pair


def _stretch(password: str, salt: bytes, cost: ScryptCost) -> bytes:
    stretched = scrypt(
        password.encode(),
        salt=salt,
        n=cost.n,
        r=cost.r,
        p=cost.p,
        maxmem=_SCRYPT_MEMORY_MAX,
        dklen=64,
    )
    return stretched[: SecretBox.KEY_SIZE]


def _describe(path: Path) -> KeyEntry:
    document = _parse(_read(path))
    account = _account_of(document)
    meta = document.get("meta")
    name = meta.get("name") if isinstance(meta, dict) else None
    return KeyEntry(
        str(document["address"]),
        account,
        _kind_of(document),
        name if isinstance(name, str) else "",
        path,
    )


def _parse(text: str) -> Mapping[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged("it is not JSON") from error
    if not isinstance(document, dict):
        raise _damaged("it is not a JSON object")
    return document


def _kind_of(document: Mapping[str, object]) -> KeyKind:
    encoding = document.get("encoding")
    if not isinstance(encoding, dict):
        raise _damaged("it does not say how it is encoded")
    content, sealing, version = (encoding.get(part) for part in ("content", "type", "version"))
    if version != VERSION or sealing != _SEALING:
        raise KeyFileVersionError(
            f"The key file is of version {version!r} sealed by {sealing!r}; only version "
            f"{VERSION} with a password is read here. Export it again from a current wallet."
        )
    if not isinstance(content, list) or content[:1] != ["pkcs8"] or len(content) != 2:
        raise _damaged("it does not say which kind of key it holds")
    kind = _KINDS.get(content[1]) if isinstance(content[1], str) else None
    if kind is None:
        raise KeyFileVersionError(
            f"The key file holds a key of kind {content[1]!r}. This chain knows "
            f"{' and '.join(_KINDS)}."
        )
    return kind


def _account_of(document: Mapping[str, object]) -> bytes:
    address = document.get("address")
    try:
        return ss58.decode(address if isinstance(address, str) else "")
    except ss58.AddressError as error:
        raise _damaged("it names no valid address") from error


def _bytes_of(encoded: object) -> bytes:
    """Decode the sealed part: base64, or hexadecimal in files of old wallets."""
    if not isinstance(encoded, str):
        raise _damaged("it has no sealed part")
    try:
        if encoded.startswith("0x"):
            return bytes.fromhex(encoded[2:])
        return b64decode(encoded, validate=True)
    except (ValueError, Base64Error) as error:
        raise _damaged("its sealed part is not base64") from error


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise _damaged(f"{path.name} is longer than {FILE_BYTES_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _damaged(f"{path.name} is not text") from error


def _write_whole(path: Path, text: str) -> None:
    """Write a new file that is complete when it appears; raises KeyExistsError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails when the name is taken: no key is ever overwritten.
        os.link(draft, path)
    except FileExistsError as error:
        raise KeyExistsError(f"{path} already exists. Remove that key first.") from error
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _replace_whole(path: Path, document: Mapping[str, object]) -> None:
    """Replace a key file by one that is complete when it appears; a link stays one."""
    write_durably(path.resolve(), (json.dumps(document, indent=2) + "\n").encode(), FILE_MODE)


def _damaged(why: str) -> DamagedKeyFileError:
    return DamagedKeyFileError(
        f"The key file is damaged: {why}. Restore it from a backup or from the phrase."
    )
