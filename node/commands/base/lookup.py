"""Looks datanets, models and jobs up by number or name, and refuses with a sentence."""

from __future__ import annotations

from typing import Any, Final

from node.client import Client
from node.commands.base.command import refuse
from pallets.datanets.records import DatanetInfo
from pallets.jobs.job import Job
from pallets.models import ModelInfo

NUMBER_MAX: Final = 2**32 - 1
PAGE: Final = 256
"""Datanets or models for each request to the node."""


def list_all(client: Client, api: str) -> list[Any]:
    """Return all datanets or models of a runtime API that takes a first id and a count."""
    infos: list[Any] = []
    while True:
        page = client.api(api, infos[-1].id + 1 if infos else 0, PAGE)
        infos += page
        if len(page) < PAGE:
            return infos


def find_datanet(client: Client, number: int) -> DatanetInfo:
    """Return a datanet. Raises UsageError when there is none with this number."""
    info: DatanetInfo | None = client.api("DatanetsApi_datanet", number)
    if info is None:
        refuse(f"There is no datanet {number}. `openledger datanet list` shows them.")
    return info


def find_model(client: Client, text: str) -> ModelInfo:
    """Return the model with this number or name. Raises UsageError."""
    info: ModelInfo | None
    if text.isascii() and text.isdigit() and int(text) <= NUMBER_MAX:
        info = client.api("ModelsApi_model", int(text))
    else:
        info = client.api("ModelsApi_model_named", text)
    if info is None:
        refuse(f"There is no model {text!r}. `openledger model list` shows them.")
    return info


def find_job(client: Client, number: int) -> Job:
    """Return a job. Raises UsageError."""
    job: Job | None = client.api("JobsApi_job", number)
    if job is None:
        refuse(f"There is no job {number}. `openledger model status` names those of a model.")
    return job


def rows_needed(client: Client) -> int:
    """Return how many published rows a model needs for attribution pay."""
    return int(client.api("AttributionApi_parameters").rows_minimum)
