"""The models that a node serves stand on the very base that it has."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from ml.api.service import ModelUnknownError
from ml.base.base import content_hash
from node.serving import served_models as served_models_module
from node.serving.served_models import ServedModels
from runtime.types.primitives import Hash
from tests.node.support.small_node import run


def test_a_model_on_another_base_of_the_same_shape_is_not_answered_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its adapter would fit, and its signed receipts would be silently wrong."""
    own = Hash(content_hash())
    asked: list[Hash] = []
    nothing = cast(Any, None)
    served = ServedModels(nothing, nothing, nothing, tmp_path, base_model="")

    def load(release: Any) -> Any:
        asked.append(release.base)
        raise ModelUnknownError("loaded")

    monkeypatch.setattr(served, "_load", load)

    async def get(base: Hash) -> None:
        release = SimpleNamespace(base=base)
        monkeypatch.setattr(served_models_module, "release_of", lambda *_: release)
        await served.get(1)

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            await served.start(nursery)
            with pytest.raises(ModelUnknownError, match="Ask a node that has it"):
                await get(Hash(bytes(32)))
            with pytest.raises(ModelUnknownError, match="loaded"):
                await get(own)
            nursery.cancel_scope.cancel()

    run(scenario)
    assert asked == [own]
