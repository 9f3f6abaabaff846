"""Leaving in good order: clients move to other nodes, a few at a time, and what they sent is answered first."""

from __future__ import annotations

import asyncio
import random
import time

import structlog

from channel_server.core.node import Node
from channel_server.gossip import Gossip
from channel_server.websocket.listener import Server
from services.eventlog.appender import Appender

log = structlog.get_logger()

WAVES = 10
CONNECTIONS_A_SECOND = 1_000
"""How fast clients are sent away, as long as the time suffices: each costs another node a connect."""

LAST_WORDS_SECONDS = 2.0
"""How long telling the other nodes that these sessions are over may take. If it does not succeed, they find out."""


async def drain(
    node: Node, server: Server, appender: Appender, gossip: Gossip, seconds: float, rng: random.Random
) -> None:
    """Send everybody away and wait for what is under way, and until the other nodes know; at most `seconds`."""
    started = time.monotonic()
    deadline = started + seconds
    node.state.draining = True
    server.close()
    sessions = list(node.sessions.values())
    rng.shuffle(sessions)
    log.info("draining", connections=len(sessions))
    spread = min(0.6 * seconds, len(sessions) / CONNECTIONS_A_SECOND)
    pause = spread / WAVES
    for wave in range(WAVES):
        here = sessions[wave::WAVES]
        for session in here:
            session.ask_to_reconnect(round(rng.uniform(0, 1000 * pause)))
        if here:
            await asyncio.sleep(pause)
    # Their sends are answered by the tail; who waits for nothing any more can go.
    while _unanswered(node) and time.monotonic() < deadline - 0.3 * seconds:  # noqa: ASYNC110 - told one by one
        await asyncio.sleep(0.02)
    node.end_all("drained")
    try:
        async with asyncio.timeout_at(
            asyncio.get_running_loop().time() + max(deadline - time.monotonic(), 0.1)
        ):
            await asyncio.gather(appender.flush(), server.wait_closed(), _say_goodbye(gossip))
    except TimeoutError:
        log.warning(
            "not everything was finished in time", connections=len(node.sessions), appends=appender.in_flight
        )
    log.info("drained", seconds=round(time.monotonic() - started, 2))


async def _say_goodbye(gossip: Gossip) -> None:
    try:
        async with asyncio.timeout(LAST_WORDS_SECONDS):
            await gossip.last_words()
    except TimeoutError:
        log.warning("the other nodes could not be told that these sessions are over")


def _unanswered(node: Node) -> bool:
    return any(session.unacknowledged for session in node.sessions.values())
