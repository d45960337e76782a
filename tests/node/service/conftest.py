"""Gives these tests the node with a server of the JSON-RPC tests."""

from tests.node.rpc.conftest import dev_spec, drive, machines

__all__ = ["dev_spec", "drive", "machines"]
