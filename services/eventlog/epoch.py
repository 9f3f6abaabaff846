"""Epochs of the log: the `generations` topic, and making the topics of an epoch."""

from __future__ import annotations

from services.contract.generation import Generation

GENERATIONS_TOPIC = "generations"
"""One partition, compacted; key = the epoch as a decimal, value = the JSON of `contract.generation.Generation`."""


async def current_generation(kafka: str) -> Generation:
    """The generation of the highest epoch.

    Raises NoGeneration when there is none, aiokafka's KafkaError when no broker can be reached.
    """
    raise NotImplementedError


async def create_generation(kafka: str, generation: Generation, *, replication: int = 1) -> Generation:
    """Make an epoch: its topics, then its generation record. Gives the record that is in force.

    Safe to repeat and to run twice at once: who comes second gets the first one's record.
    Raises aiokafka's KafkaError when no broker can be reached or a topic cannot be made.
    """
    raise NotImplementedError
