"""Write the loss curve of a training as JSON lines, one per step."""

from __future__ import annotations

import json

from ml.train.loop import TrainReport


def curve_lines(report: TrainReport) -> str:
    """Return the curve; losses in micro-nats per token, step 0 is the base itself."""
    held_out = dict(report.held_out_curve)
    losses = dict(enumerate(report.step_losses_micronats, start=1))
    lines = []
    for step in sorted(held_out.keys() | losses.keys()):
        point: dict[str, int] = {"step": step}
        if step in losses:
            point["loss_micronats"] = losses[step]
        if step in held_out:
            point["held_out_micronats"] = held_out[step]
        lines.append(json.dumps(point))
    return "\n".join(lines) + "\n"
