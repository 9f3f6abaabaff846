"""Schemathesis, over the API's own description: nothing it thinks of is a defect, and every answer is as described."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.stack.process import Process
from tests.system.security.slots import operations
from tests.system.web_app.conftest import WebProcess
from tests.system.web_app.people import Person, join, ok, sign_up
from tests.system.web_app.records import store_messages

# It finds real ids in answers and uses them: left to it, it would log itself out first. Each has a run of its own.
ENDING: Final = ("log_out", "revoke_session", "leave_workspace", "delete_workspace")
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "allow_header_conformance",
)

# The description's examples.
SLUG: Final = "acme"
SESSION: Final = "ses_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"

# To say "not yet" to who names a number that is not stored is an answer, though a 503. No other 503 is.
CONFIGURATION: Final = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""
EXPECTED_503: Final = {"not_yet"}


class Answer(NamedTuple):
    route: str
    status: str
    code: str


@pytest.fixture
async def http(web_process: WebProcess, sql: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
    # What the examples name belongs to nobody yet.
    await sql.execute("update workspaces set slug = id where slug = $1", SLUG)
    await sql.execute("delete from sessions where id = $1", SESSION)
    async with httpx.AsyncClient(base_url=web_process.url, trust_env=False, timeout=60) as made:
        yield made


async def given(http: httpx.AsyncClient) -> Counter[Answer]:
    """How often each answer was given so far."""
    answers: Counter[Answer] = Counter()
    for family in text_string_to_metric_families((await http.get("/metrics")).text):
        for sample in family.samples:
            if sample.name == "lockstep_web_requests_total":
                labels = sample.labels
                answers[Answer(labels["route"], labels["status"], labels["code"])] += int(sample.value)
    return answers


async def fuzzed(
    http: httpx.AsyncClient, folder: Path, person: Person, *options: str, patience: float
) -> Counter[Answer]:
    """Schemathesis with this person's token, content with everything; gives what it was answered."""
    (folder / "schemathesis.toml").write_text(CONFIGURATION, "utf-8")
    program = shutil.which("st", path=str(Path(sys.executable).parent))
    assert program is not None
    process = Process(
        "schemathesis",
        [
            program,
            "run",
            str(http.base_url.join("/v1/openapi.json")),
            f"--header=Authorization: {person.headers['authorization']}",
            "--phases=examples,coverage,fuzzing",
            "--workers=1",  # its threads meet in ast.parse, which CPython 3.11 does not bear
            "--seed=1",
            # How long something takes says nothing here: the machine may be busy.
            "--request-timeout=60",
            "--suppress-health-check=too_slow",
            f"--checks={','.join(CHECKS)}",
            *options,
        ],
        folder / "schemathesis.log",
        cwd=folder,
    )
    before = await given(http)
    process.spawn()
    status = await process.wait(patience)
    assert status == 0, process.tail(8000)
    assert "generated" in process.tail()
    answers = await given(http) - before
    assert {each for each in answers if each.status >= "500" and each.code not in EXPECTED_503} == set()
    return answers


@pytest.mark.timeout(900)
async def test_nothing_that_is_thought_of_is_a_defect(
    http: httpx.AsyncClient, folder: Path, sql: asyncpg.Connection
) -> None:
    owner = await sign_up(http)
    # Those of the description's examples are among them.
    await store_messages(sql, await owner.new_channel(), owner.id, 50)
    left_out = [f"--exclude-operation-id={each}" for each in ENDING]
    answers = await fuzzed(http, folder, owner, "--max-examples=5", *left_out, patience=800)
    assert len({each.route for each in answers if each.status < "300"}) >= 40


@pytest.mark.parametrize("operation", ENDING)
async def test_nothing_that_is_thought_of_is_a_defect_where_it_ends_something(
    http: httpx.AsyncClient, folder: Path, sql: asyncpg.Connection, operation: str
) -> None:
    """By an owner of whom the examples are true, and who may leave, not being the only one."""
    owner = await sign_up(http, SLUG)
    other = await join(owner)
    ok(await owner.ask("PATCH", f"/v1/users/{other.id}", {"role": "owner"}))
    await sql.execute(
        "insert into sessions (id, user_id, device, version) values ($1, $2, '', nextval('row_version'))",
        SESSION,
        owner.id,
    )
    only = f"--include-operation-id={operation}"
    answers = await fuzzed(http, folder, owner, "--max-examples=20", only, patience=200)
    assert answers[Answer(operations()[operation].path, "204", "")], f"it never came to be: {answers}"
