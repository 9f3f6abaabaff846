"""Asking a process of the product whether it is ready, cheaply: many are asked several times a second."""

from __future__ import annotations

import ssl

import httpx

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Health is plain HTTP; httpx's own default would read every certificate authority for each client."""


async def unready(url: str) -> str | None:
    """None when `url` (a process's /health/ready) says yes, else why not, in a few words."""
    try:
        async with httpx.AsyncClient(timeout=3.0, trust_env=False, verify=_NO_TLS) as client:
            answer = await client.get(url)
            return None if answer.status_code == 200 else str(answer.json().get("reason", answer.text))
    except (httpx.TransportError, ValueError):
        return "does not answer yet"
