"""A stand-in for a node that starts at once: its files, JSON-RPC and control socket, and no chain.

Blocks are those of a clock: one every 20 ms, the same in all processes. The requests to
its control socket are stored in BASE/requests.json. OPENLEDGER_BASE_MODEL selects how it
misbehaves.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import socketserver
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

BLOCK_SECONDS: Final = 0.02
SOCKET_PATH_MAX: Final = 100
"""A little less than the kernel takes for the path of a Unix socket."""


def height() -> int:
    return int(time.time() / BLOCK_SECONDS) & 0xFFFFFF


def block_hash(number: int) -> str:
    return "0x" + hashlib.sha256(b"%d" % number).hexdigest()


def answer(method: str, params: list[Any]) -> Any:
    if method == "chain_getHeader":
        return {"number": hex(height())}
    if method in ("chain_getFinalizedHead", "chain_getBlockHash"):
        return block_hash(params[0] if params else height())
    return {"peers": 3}


class Rpc(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        result = answer(request["method"], request["params"])
        body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


REQUESTS: Final[list[Path]] = []
"""The file of requests, in the base path; the socket may lie elsewhere, where its path is short."""


class Control(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            request = json.loads(line)
            path = REQUESTS[0]
            requests = json.loads(path.read_text()) if path.exists() else []
            path.write_text(json.dumps([*requests, request]))
            self.wfile.write(b'{"ok": true}\n')


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-path", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--p2p-port", type=int)
    options, _ = parser.parse_known_args()
    base: Path = options.base_path
    (base / "arguments.json").write_text(json.dumps(sys.argv[1:]))
    REQUESTS.append(base / "requests.json")
    REQUESTS[0].unlink(missing_ok=True)
    behaviour = os.environ.get("OPENLEDGER_BASE_MODEL", "")
    if behaviour == "fails":
        print("2026-01-01 00:00:00.000 INFO node.x node-starting", file=sys.stderr)
        print("Error: the disk is made of cheese", file=sys.stderr)
        sys.exit(2)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    rpc = ThreadingHTTPServer(("127.0.0.1", options.port), Rpc)
    path = base / "control.sock"
    if len(str(path)) > SOCKET_PATH_MAX:
        path = Path(tempfile.mkdtemp()) / path.name
    path.unlink(missing_ok=True)
    control = socketserver.ThreadingUnixStreamServer(str(path), Control)
    control.daemon_threads = rpc.daemon_threads = True
    port = rpc.server_address[1]
    p2p_port, number = options.p2p_port or port + 1, base.name
    endpoint = {
        "rpc": f"ws://127.0.0.1:{port}",
        "http": f"http://127.0.0.1:{port}",
        "pid": os.getpid(),
        "p2p": [f"/ip4/127.0.0.1/tcp/{p2p_port}/p2p/peer{number}"],
        "peer_id": f"peer{number}",
        "control": str(path),
    }
    draft = base / "endpoint.part"
    draft.write_text(json.dumps(endpoint))
    threading.Thread(target=control.serve_forever, daemon=True).start()
    draft.replace(base / "endpoint.json")
    rpc.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
