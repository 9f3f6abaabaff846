"""Secrets stay in their files: no process writes one into its log, its metrics or its command line, whatever goes wrong.

The stack logs at `debug`, with tracebacks. Everything that carries a secret is done, right and wrong, and then every
file that the stack wrote is searched for every secret that was used.
"""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import httpx

from services.contract.ids import new_event_id
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.security.visitors import opened, welcomed_with
from tests.system.web_app.people import ok, unique

TEXT = "what is said in a channel, 47110815"


def wrong(stem: str) -> str:
    """A password or token that nobody has, easily found."""
    return f"wrong-{stem}-{new_event_id()}"


async def everything_with_a_secret(stack: Stack, http: httpx.AsyncClient) -> dict[str, str]:
    """Sign up, log in, fail to, refresh, reuse, invite, connect, send, break; gives name -> secret."""
    used: dict[str, str] = {"the first password": wrong("first-password")}
    slug = unique("secretive")
    account = {"workspace_slug": slug, "email": "olga@example.com", "password": used["the first password"]}
    signed_up = ok(
        await http.post("/v1/workspaces", json=account | {"workspace_name": "W", "name": "O"}), 201
    )
    used["the first access token"] = signed_up["tokens"]["access_token"]
    used["the first refresh token"] = signed_up["tokens"]["refresh_token"]

    guesses: dict[str, dict[str, object]] = {
        "password": {**account, "password": wrong("password")},
        "password of nobody": {**account, "email": "x@example.com", "password": wrong("nobody")},
        "password in a bad body": account | {"password": wrong("bad-body"), "unknown": 1},
        "password that is too long": {**account, "password": wrong("long") * 20},
    }
    for name, body in guesses.items():
        used[name] = str(body["password"])[:40]
        assert (await http.post("/v1/auth/login", json=body)).status_code in (401, 422)
    used["password in no JSON"] = wrong("no-json")
    broken = f'{{"password":"{used["password in no JSON"]}"'
    answer = await http.post("/v1/auth/login", content=broken, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    used["password in an address"] = wrong("address")
    assert (await http.get(f"/v1/me?password={used['password in an address']}")).status_code == 401

    tokens = ok(await http.post("/v1/auth/login", json=account))["tokens"]
    used["the access token"], used["the refresh token"] = tokens["access_token"], tokens["refresh_token"]
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    used["a token that is none"] = wrong("token")
    assert (
        await http.get("/v1/me", headers={"authorization": f"Bearer {used['a token that is none']}"})
    ).status_code == 401
    assert (
        await http.post("/v1/auth/refresh", json={"refresh_token": used["a token that is none"]})
    ).status_code == 401

    used["the new password"] = wrong("new-password")
    change = {"current_password": wrong("current"), "new_password": used["the new password"]}
    used["a wrong current password"] = change["current_password"]
    assert (await http.post("/v1/auth/password", json=change, headers=headers)).status_code == 401
    change["current_password"] = used["the first password"]
    assert (await http.post("/v1/auth/password", json=change, headers=headers)).status_code == 204

    invited = ok(
        await http.post("/v1/invites", json={"email": "m@example.com", "role": "member"}, headers=headers),
        201,
    )
    used["an invitation"], used["the second password"] = invited["token"], wrong("second-password")
    accept = {"token": used["an invitation"], "name": "M", "password": used["the second password"]}
    joined = ok(await http.post("/v1/invites/accept", json=accept), 201)
    assert (await http.post("/v1/invites/accept", json=accept)).status_code == 404
    used["the second access token"] = joined["tokens"]["access_token"]

    [general] = ok(await http.get("/v1/channels", headers=headers))["items"]
    posted = ok(
        await http.post(f"/v1/channels/{general['id']}/messages", json={"text": TEXT}, headers=headers), 201
    )
    used["the text of a message"] = TEXT
    realtime = ok(await http.post("/v1/realtime", headers=headers))["token"]
    used["the realtime token"] = realtime
    for said in (realtime, realtime[:-20] + "A" * 20, used["the access token"]):
        if said == realtime:
            client = await welcomed_with(stack, said)
            assert (await client.say(general["id"], TEXT))["type"] == "ack"
            await client.socket.send(json.dumps({"type": "send", "text": TEXT, "channel": 1}))
            await client.frame("error")
            await client.close()
        else:
            client = await opened(stack)
            await client.socket.send(json.dumps({"type": "connect", "token": said}))
            await client.end()
    used["a tampered realtime token"] = realtime[:-20] + "A" * 20
    ok(await http.get(f"/v1/channels/{general['id']}/events?at_least={posted['seq'] + 1}", headers=headers))

    fresh = ok(await http.post("/v1/auth/refresh", json={"refresh_token": used["the refresh token"]}))
    used["a fresh access token"], used["a fresh refresh token"] = (
        fresh["access_token"],
        fresh["refresh_token"],
    )
    again = ok(await http.post("/v1/auth/refresh", json={"refresh_token": used["a fresh refresh token"]}))
    used["the last access token"], used["the last refresh token"] = (
        again["access_token"],
        again["refresh_token"],
    )
    reused = await http.post("/v1/auth/refresh", json={"refresh_token": used["the refresh token"]})
    assert reused.status_code == 401
    return used


async def wrong_answers_inside(stack: Stack) -> dict[str, str]:
    """The internal API with wrong tokens and bodies."""
    used = {"a wrong service token": wrong("service-token")}
    async with httpx.AsyncClient(base_url=stack.internal_url(), trust_env=False, timeout=30) as internal:
        for token in (used["a wrong service token"], stack.service_token):
            headers = {"authorization": f"Bearer {token}"}
            answer = await internal.post("/internal/v1/events", content=b'{"x":', headers=headers)
            assert answer.status_code in (401, 422)
    return used


def of_the_stack(stack: Stack) -> dict[str, str]:
    """The secrets in its files; of a private key each line of its Base64."""
    found = dict.fromkeys(("the service token",), stack.service_token)
    found["the database's password"] = (stack.secrets_dir / "database_password").read_text().strip()
    for path in (stack.secrets_dir / "signing_keys").glob("*.pem"):
        for number, line in enumerate(path.read_text().splitlines()):
            if "-----" not in line:
                found[f"line {number} of {path.name}"] = line
    return found


def written(stack: Stack) -> list[Path]:
    """Logs of our processes, of Kafka and of PostgreSQL. Segments of Kafka's topics are data, whatever they are called."""
    return [path for path in stack.folder.rglob("*.log") if not path.stem.isdigit() and path.is_file()]


def parts_of(secret: str) -> list[str]:
    """The secret; of a signed token also its signature alone, which is what makes it one."""
    signature = secret.rpartition(".")[2]
    return [secret] if secret.count(".") != 2 else [secret, signature]


async def test_no_secret_is_ever_logged(fortress: Stack) -> None:
    async with httpx.AsyncClient(base_url=fortress.web_url, timeout=30, trust_env=False) as http:
        used = await everything_with_a_secret(fortress, http)
        used |= await wrong_answers_inside(fortress)
        used |= of_the_stack(fortress)
        # With the database gone as well: what went wrong is logged with its traceback.
        await fortress.postgres.process.stop()
        try:
            account = {"workspace_slug": "x", "email": "a@example.com", "password": wrong("frozen")}
            used["a password while the database is away"] = account["password"]
            answer = await http.post("/v1/auth/login", json=account)
            assert answer.status_code == 503, answer.text
        finally:
            await fortress.postgres.process.start()
            for process in fortress.processes.values():  # others come after this test
                await process.wait_ready()
        await until(
            lambda: (
                b"log_in" in (fortress.folder / "web_app.log").read_bytes()
                or b"/v1/auth/login" in (fortress.folder / "web_app.log").read_bytes()
            ),
        )
        metrics = {
            name: (await http.get(f"{fortress.health_url(name)}/metrics")).text for name in fortress.processes
        }
    logs = written(fortress)
    names = {path.name for path in logs if path.stat().st_size}
    assert {f"{name}.log" for name in (*fortress.processes, "bootstrap", "kafka", "postgres")} <= names
    leaked = []
    for path in logs:
        content = await asyncio.to_thread(path.read_bytes)
        leaked += [
            f"{name} in {path.name}"
            for name, secret in used.items()
            if any(part.encode() in content for part in parts_of(secret))
        ]
    for where, text in metrics.items():
        leaked += [f"{name} in the metrics of {where}" for name, secret in used.items() if secret in text]
    for name, process in fortress.processes.items():
        line = (
            Path(f"/proc/{process.pid}/cmdline").read_bytes()
            + Path(f"/proc/{process.pid}/environ").read_bytes()
        )
        leaked += [
            f"{what} in the environment of {name}" for what, secret in used.items() if secret.encode() in line
        ]
    assert leaked == []


async def test_the_search_would_find_what_is_logged(fortress: Stack) -> None:
    """A request's id is logged: the same search finds it, so the logs are the right files and at the right level."""
    marker = "marker-" + new_event_id()
    async with httpx.AsyncClient(base_url=fortress.web_url, timeout=30, trust_env=False) as http:
        await http.get("/v1/me", headers={"x-request-id": marker})
    await until(lambda: any(marker.encode() in path.read_bytes() for path in written(fortress)))
    levels = {
        json.loads(line)["level"]
        for path in written(fortress)
        for line in path.read_text("utf-8", "replace").splitlines()
        if line.startswith('{"') and '"level"' in line
    }
    assert "debug" in levels


def test_secrets_are_made_for_their_owner_alone(fortress: Stack) -> None:
    """As the first start of the native stack makes them (the same function; tests/unit/deploy/test_place.py)."""
    for path in fortress.secrets_dir.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(fortress.secrets_dir.stat().st_mode) == 0o700
    values = set(of_the_stack(fortress).values())
    assert all(len(each) >= 43 for each in values)
