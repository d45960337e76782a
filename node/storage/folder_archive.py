"""A chain's data folder as one file, and back: every byte is hashed, and half a file is refused.

It is a tar file of what a node keeps in the folder, without locks, drafts and sockets; its last
member is `manifest.json`, with the SHA-256 of every other one. The keys of accounts and of votes
lie elsewhere, so they are not in it. The secret of the peer identity is, where its name is asked
for; so only the file's owner may read it.

The file may come from anybody, so nothing in it decides where or how something is written: only the
names of a node's own data are taken, as plain files that their owner alone may read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, get_origin, get_type_hints

from node.storage.new_file import new_file
from runtime.errors import ExitCode, OpenLedgerError

VERSION: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 64 * 1024 * 1024
CHUNK_BYTES: Final = 1 << 20
FILE_MODE: Final = 0o600
MOVE_ID: Final = re.compile("[0-9a-f]{32}")
LOCK_NAMES: Final = ("LOCK",)
LEFT_OUT_SUFFIXES: Final = (".lock", ".part", ".sock")

OnBytes = Callable[[int, int], None]
"""Receives (bytes done, bytes in all)."""


class ArchiveError(OpenLedgerError):
    """The file is no snapshot, or it is cut off or damaged."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot is of, and the hash of each of its files."""

    chain: str
    genesis_hash: str
    block_number: int
    block_hash: str
    is_moved: bool
    moves: list[str]
    """The ids of the moves that the data went through, oldest first; this one too, if it is one."""
    taken_at: str
    files: dict[str, str] = field(default_factory=dict)
    """The hash of each file by its name; `pack` fills it in."""
    version: int = VERSION


def pack(folder: Path, path: Path, manifest: Manifest, names: Collection[str], on: OnBytes) -> int:
    """Write what a folder has of these names into a new file that is complete when it appears;
    returns its bytes.

    Only its owner may read it. Raises FileExistsError.
    """
    members = [file for file in sorted(_files(folder)) if _is_named(file.as_posix(), names)]
    total = sum((folder / file).stat().st_size for file in members)
    done = 0
    hashes = {}
    with (
        new_file(path, FILE_MODE) as raw,
        tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in members:
            hashes[str(file)] = _hash(folder / file)
            archive.add(folder / file, arcname=str(file), recursive=False)
            done += (folder / file).stat().st_size
            on(done, total)
        text = json.dumps(asdict(replace(manifest, files=hashes)), indent=1).encode()
        entry = tarfile.TarInfo(MANIFEST)
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return path.stat().st_size


def unpack(path: Path, folder: Path, names: Collection[str], on: OnBytes) -> Manifest:
    """Write a snapshot's files of these names into a new folder and check each of them.

    Raises ArchiveError.
    """
    folder.mkdir(parents=True)
    try:
        with path.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            total = path.stat().st_size
            for member in archive:
                if member.name != MANIFEST and not _is_named(member.name, names):
                    raise ArchiveError(f"{path} holds {member.name!r}, which is no data of a node.")
                if not member.isfile() or member.issparse():
                    raise ArchiveError(f"{path} holds {member.name!r}, which is no plain file.")
                _extract(archive, member, folder)
                on(min(raw.tell(), total), total)
    except (tarfile.TarError, EOFError, FileExistsError, NotADirectoryError) as error:
        raise _damaged(path, str(error)) from error
    manifest = _read_manifest(path, folder / MANIFEST)
    found = {str(file) for file in _files(folder)} - {MANIFEST}
    if found != set(manifest.files):
        raise _damaged(path, "its files are not those of its manifest")
    for name, expected in manifest.files.items():
        if _hash(folder / name) != expected:
            raise _damaged(path, f"{name} has another hash than when it was taken")
    (folder / MANIFEST).unlink()
    return manifest


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write the content of a member alone: neither its mode nor its owner. Raises FileExistsError,
    NotADirectoryError where a name is there twice."""
    content = archive.extractfile(member)
    assert content is not None, "a plain file has a content"
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with content, os.fdopen(descriptor, "wb") as written:
        shutil.copyfileobj(content, written, CHUNK_BYTES)


def _is_named(member: str, names: Collection[str]) -> bool:
    """Return whether a path lies in the folder, in or at one of the names in it."""
    path = PurePosixPath(member)
    is_plain = path.as_posix() == member and not path.is_absolute() and ".." not in path.parts
    return is_plain and (path.parts[0] in names or member in names)


def _read_manifest(path: Path, file: Path) -> Manifest:
    if not file.is_file() or file.stat().st_size > MANIFEST_BYTES_MAX:
        raise _damaged(path, "it ends without its manifest, so it was cut off, or is no snapshot")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        manifest = _manifest_of(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, f"its manifest cannot be read ({error})") from error
    if manifest.version != VERSION:
        raise ArchiveError(
            f"{path} is of version {manifest.version}; this program reads version {VERSION}."
        )
    return manifest


def _manifest_of(data: Any) -> Manifest:
    """Return the manifest that JSON stands for. Raises TypeError, ValueError."""
    manifest = Manifest(**data)
    for name, hint in get_type_hints(Manifest).items():
        if type(getattr(manifest, name)) is not (get_origin(hint) or hint):
            raise TypeError(f"its {name} is of another type")
    if not all(isinstance(part, str) for entry in manifest.files.items() for part in entry):
        raise TypeError("its files are of another type")
    are_ids = all(isinstance(move, str) and MOVE_ID.fullmatch(move) for move in manifest.moves)
    if not are_ids or (manifest.is_moved and not manifest.moves):
        raise ValueError("its moves are no list of ids")
    return manifest


def _files(folder: Path) -> Iterator[Path]:
    """Yield the regular files of a folder by their path in it, those that are worth keeping."""
    for path in folder.rglob("*"):
        is_kept = path.name not in LOCK_NAMES and path.suffix not in LEFT_OUT_SUFFIXES
        if is_kept and path.is_file() and not path.is_symlink():
            yield path.relative_to(folder)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path, why: str) -> ArchiveError:
    return ArchiveError(
        f"{path} is no whole snapshot: {why}. Take it again with `openledger chain snapshot`, or "
        "copy it again."
    )
