from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.websocket.raw import RawClient
from tests.system.websocket.serving import EchoProcess, echo_process

MAX_MESSAGE = 64 * 1024


@pytest.fixture(scope="package")
def echo() -> Iterator[EchoProcess]:
    """One echo process for all tests that do not wear it out."""
    with echo_process("--max-message", str(MAX_MESSAGE)) as process:
        yield process


@pytest.fixture
def client(echo: EchoProcess) -> Iterator[RawClient]:
    """A client whose handshake is done."""
    with RawClient(echo.port) as connected:
        yield connected.upgrade()
