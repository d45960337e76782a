"""A small LevelDB folder of every kind of file, to be written by one binding and read by another.

`python -m tests.node.storage.support.level_files FOLDER` writes it with the binding of this Python;
that is how the folders in tests/vectors/leveldb were made.
"""

from __future__ import annotations

import sys
from pathlib import Path

from node.storage.leveldb import LevelStore, plyvel

ROWS = 300
TABLE = {b"row %03d" % number: b"value %d " % number * 50 for number in range(ROWS)}
"""So long and alike that the table is compressed."""
LOG: dict[bytes, bytes | None] = {b"row 007": None, b"row 008": b"changed", b"last": b"\0\xff"}
CONTENT = {key: value for key, value in sorted({**TABLE, **LOG}.items()) if value is not None}


def write(folder: Path) -> None:
    """Write the folder: a table of sorted rows, and a log with changes after it."""
    store = LevelStore.open(folder, create=True)
    store.write(dict(TABLE))
    store._source.compact_range()
    store.write(LOG)
    store.close()


def content(folder: Path) -> dict[bytes, bytes]:
    """Read all of it, every checksum verified."""
    store = LevelStore.open(folder, create=False)
    try:
        return dict(store.reader.pairs(b"", b"\xff"))
    finally:
        store.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    print(f"Written by {plyvel.__name__} {plyvel.__version__}.")
