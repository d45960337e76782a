"""The base of a job: only the one that the chain names, and loaded anew for each job."""

from __future__ import annotations

import pytest

from ml.base.content import content_hash
from ml.jobs.job_base import BaseMismatchError, load_job_base
from runtime.types.primitives import ZERO_HASH, Hash


def test_a_base_of_another_hash_is_refused_with_both_hashes() -> None:
    with pytest.raises(BaseMismatchError) as caught:
        load_job_base("", ZERO_HASH)
    assert bytes(ZERO_HASH).hex() in str(caught.value)
    assert content_hash(None).hex() in str(caught.value)


def test_each_job_gets_weights_of_its_own() -> None:
    first, _ = load_job_base("", Hash(content_hash(None)))
    next(first.parameters()).data.zero_()
    second, _ = load_job_base("", Hash(content_hash(None)))
    assert next(second.parameters()).abs().sum() > 0
