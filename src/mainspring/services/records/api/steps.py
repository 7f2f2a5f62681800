"""The public face, where it is of several collections: a batch of steps in any of them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mainspring import Call, Input
from mainspring.services.records.api import (
    BATCH_BYTES_MAX,
    BATCH_MAX,
    BatchAnswer,
    IdTaken,
    Name,
    UniqueTaken,
    service,
)


class StepValue(Input, frozen=True):
    """A value that an earlier step answered: ``order.id`` is the id of the step ``order``."""

    ref: str = msgspec.field(name="$ref")


class Step(Input, frozen=True):
    """One write of a batch over collections, as a ``BatchItem`` is one of a batch in one.

    ``name`` is what later steps call it by. ``data`` may hold ``"$ref": {"field": "step.member"}``:
    fields that get what an earlier step answered.
    """

    collection: Name
    action: Literal["create", "update", "delete", "upsert"]
    name: Name | None = None
    id: str | StepValue | None = None
    by: Name | None = None
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))


class Steps(Input, frozen=True):
    """Writes in any collections, taken in their order, that land together or not at all."""

    steps: Annotated[list[Step], Meta(min_length=1, max_length=BATCH_MAX)]


@service.contract.transaction(
    "POST /v1/records:batch",
    scope=None,
    raises=(UniqueTaken, IdTaken),
    body_bytes_max=BATCH_BYTES_MAX,
)
async def batch_steps(call: Call, batch: Steps) -> BatchAnswer:
    """Create, update, upsert and delete up to 1,000 records of any collections: all, or none.

    Each step is judged as if it were made alone after the earlier ones: its rules see the rows of
    those. What is wrong names its step. What the caller may not view is answered with null.
    """
