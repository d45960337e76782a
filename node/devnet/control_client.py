"""Client of a node's control socket, which node/service/control_socket.py serves."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from node.devnet.errors import ControlError

TIMEOUT_SECONDS: Final = 5.0
ANSWER_BYTES_MAX: Final = 1 << 20


class ControlClient:
    """Sends requests to one socket. Every method raises ControlError."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_SECONDS) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def block(self, peers: Sequence[str]) -> None:
        """Cut the node off these peers."""
        self._request({"do": "block", "peers": list(peers)})

    def unblock(self) -> None:
        """Reconnect the node with all peers."""
        self._request({"do": "unblock"})

    def set_latency_ms(self, latency_ms: int) -> None:
        """Delay the node's messages."""
        self._request({"do": "latency", "ms": latency_ms})

    def propose_immediately(self, until: int) -> None:
        """Have the node propose without waiting up to a height."""
        self._request({"do": "propose_immediately", "until": until})

    def state(self) -> Mapping[str, Any]:
        """Return the settings that hold at the node."""
        return self._request({"do": "state"})

    def _request(self, request: Mapping[str, object]) -> Mapping[str, Any]:
        try:
            answer = json.loads(self._exchange(json.dumps(request).encode() + b"\n"))
        except (OSError, ValueError) as error:
            raise ControlError(
                f"The control socket {self._path} does not answer {request['do']!r}: {error}. "
                "Is the node running, and not paused?"
            ) from error
        if not isinstance(answer, dict) or answer.pop("ok", False) is not True:
            reason = answer.get("error") if isinstance(answer, dict) else answer
            raise ControlError(f"The node refuses {request['do']!r}: {reason}.")
        return answer

    def _exchange(self, line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self._timeout_s)
            connection.connect(str(self._path))
            connection.sendall(line)
            answer = bytearray()
            while not answer.endswith(b"\n"):
                data = connection.recv(1 << 16)
                if not data or len(answer) > ANSWER_BYTES_MAX:
                    raise ValueError("it closed the connection")
                answer += data
            return bytes(answer)
