"""The patches apply to one version of libp2p, once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from p2p.transport import compat


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "version", lambda _: "0.8.2")
    with pytest.raises(compat.VersionError, match=r"0\.8\.2 is installed"):
        compat.apply()


def test_patches_apply_once() -> None:
    compat.apply()
    patched = compat.BasicHost._swarm_stream_handler
    compat.apply()
    assert compat.BasicHost._swarm_stream_handler is patched


def test_a_patch_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(AssertionError):
        compat._replace(compat.BasicHost, "no_such_method", None)


def test_the_declaration_of_transports_loads_no_libp2p() -> None:
    code = (
        "import sys, p2p.transport.transport, p2p.transport.memory, p2p.transport.streams;"
        "sys.exit('libp2p' in sys.modules or 'multiaddr' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("buffer", "end"),
    [(b"", None), (b"\x80", None), (b"\x05abc", 1), (b"\x80\x01a", 2), (b"\xff" * 12, 10)],
)
def test_the_end_of_a_length_is_found(buffer: bytes, end: int | None) -> None:
    assert compat._varint_end(bytearray(buffer)) == end
