"""Schemathesis, over the API's own description: nothing it thinks of is a defect, and every answer is as described."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.stack.process import Process
from tests.system.web_app.conftest import WebProcess
from tests.system.web_app.people import sign_up
from tests.system.web_app.records import store_messages

# It finds real ids in answers and uses them: left to it, it would log itself out first.
LEFT_OUT = ("log_out", "revoke_session", "leave_workspace", "delete_workspace")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "allow_header_conformance",
)


# To say "not yet" to who names a number that is not stored is an answer, though a 503.
CONFIGURATION = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""


@pytest.mark.timeout(900)
async def test_nothing_that_is_thought_of_is_a_defect(
    web_process: WebProcess, folder: Path, sql: asyncpg.Connection
) -> None:
    async with httpx.AsyncClient(base_url=web_process.url, trust_env=False, timeout=60) as http:
        owner = await sign_up(http)
        # Those of the description's examples are among them.
        await store_messages(sql, await owner.new_channel(), owner.id, 50)
    (folder / "schemathesis.toml").write_text(CONFIGURATION, "utf-8")
    program = shutil.which("st", path=str(Path(sys.executable).parent))
    assert program is not None
    process = Process(
        "schemathesis",
        [
            program,
            "run",
            f"{web_process.url}/v1/openapi.json",
            f"--header=Authorization: {owner.headers['authorization']}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=5",
            "--workers=1",  # its threads meet in ast.parse, which CPython 3.11 does not bear
            "--seed=1",
            # How long something takes says nothing here: the machine may be busy.
            "--request-timeout=60",
            "--suppress-health-check=too_slow",
            f"--checks={','.join(CHECKS)}",
            *(f"--exclude-operation-id={each}" for each in LEFT_OUT),
        ],
        folder / "schemathesis.log",
        cwd=folder,
    )
    process.spawn()
    status = await process.wait(800)
    assert status == 0, process.tail(8000)
    assert "generated" in process.tail()
