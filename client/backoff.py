"""How long to wait before trying again: exponential, capped, with jitter, and the server's word above all."""

from __future__ import annotations

import random

FIRST_S = 0.25
CAP_S = 8.0


def delay_s(attempt: int, rng: random.Random, *, dictated_ms: int | None = None) -> float:
    """Seconds to wait before retry number `attempt` (0 for the first).

    Without a word from the server: uniform between nothing and min(CAP_S, FIRST_S * 2**attempt) ("full jitter":
    a crowd that failed together comes back spread out). A time dictated by the server is waited for in full, plus
    up to a fifth more, because it told everybody the same.
    """
    if dictated_ms is not None:
        return max(0, dictated_ms) / 1000 * (1 + 0.2 * rng.random())
    return rng.uniform(0, min(CAP_S, FIRST_S * 2.0 ** min(attempt, 16)))
