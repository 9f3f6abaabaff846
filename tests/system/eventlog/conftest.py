"""An epoch of a test's own, on the shared broker or on one that the test may break."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from services.contract.generation import Generation
from services.eventlog.topics import admin_client, create_topics, epoch_topics
from tests.stack.servers import Kafka

_epochs = itertools.count(1_000)

NewEpoch = Callable[..., Awaitable[Generation]]


async def make_topics(kafka: str, **facts: Any) -> Generation:
    """The topics of a fresh epoch, without a generation record: other tests on this broker are not disturbed."""
    generation = Generation(epoch=next(_epochs), **{"partitions": 4, **facts})
    async with admin_client(kafka) as admin:
        await create_topics(admin, epoch_topics(generation, 1))
    return generation


@pytest.fixture
async def generation(kafka: Kafka) -> AsyncIterator[Generation]:
    made = await make_topics(kafka.bootstrap)
    yield made
    await delete_topics(kafka.bootstrap, made)


async def delete_topics(kafka: str, generation: Generation) -> None:
    async with admin_client(kafka) as admin:
        await admin.delete_topics([topic.name for topic in epoch_topics(generation, 1)])
