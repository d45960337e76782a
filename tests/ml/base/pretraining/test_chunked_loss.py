from __future__ import annotations

import torch

from ml.base.pretraining.chunked_loss import ChunkedCrossEntropy


def test_the_chunked_loss_is_the_ordinary_one() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(300, 8), torch.randn(20, 8)
    targets = torch.randint(0, 20, (300,))
    results = []
    for chunked in (True, False):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if chunked:
            loss = ChunkedCrossEntropy.apply(h, w, targets)  # type: ignore[no-untyped-call]
        else:
            loss = torch.nn.functional.cross_entropy(h @ w.T, targets)
        (loss * 2).backward()
        assert h.grad is not None
        assert w.grad is not None
        results.append((loss.detach(), h.grad, w.grad))
    for left, right in zip(*results, strict=True):
        torch.testing.assert_close(left, right)
