"""The web app among the real others: what it hands to the relay and the nodes comes back as history."""

from __future__ import annotations

from typing import Any

import httpx

from services.contract.ids import new_event_id
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.web_app.people import Person, join, ok, refused, sign_up


async def history(person: Person, channel: str, **asked: Any) -> list[dict[str, Any]]:
    page = ok(await person.get(f"/v1/channels/{channel}/events", after=0, **asked))
    assert [each["seq"] for each in page["events"]] == list(range(1, len(page["events"]) + 1))
    return list(page["events"])


async def test_what_is_done_by_rest_becomes_history_in_its_order(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.web_url, trust_env=False, timeout=30) as http:
        owner = await sign_up(http, f"whole-{new_event_id()[-12:]}")
        member = await join(owner)
        channel = await owner.new_channel("private")
        await owner.add(channel, member)
        key = new_event_id()
        posted = ok(await member.post(f"/v1/channels/{channel}/messages", {"text": "hällo 🎉"}, key=key), 201)
        again = ok(await member.post(f"/v1/channels/{channel}/messages", {"text": "hällo 🎉"}, key=key), 201)
        assert again == posted | {"duplicate": True}
        refused(
            await member.post(f"/v1/channels/{channel}/messages", {"text": "other"}, key=key), "id_reused"
        )

        seen = {each["id"]: each for each in await history(member, channel, at_least=posted["seq"])}
        mine = seen[key]
        assert (mine["seq"], mine["sender"], mine["at"]) == (posted["seq"], member.id, posted["at"])
        assert mine["event"] == {"type": "message.posted", "text": "hällo 🎉"}

        ok(await owner.ask("PATCH", f"/v1/channels/{channel}", {"topic": "Tea"}))
        ok(await owner.ask("DELETE", f"/v1/channels/{channel}/members/{member.id}"))
        ok(await owner.post(f"/v1/channels/{channel}/archive"))
        refused(await member.get(f"/v1/channels/{channel}/events"), "not_a_member")

        async def archived() -> list[dict[str, Any]]:
            events = await history(owner, channel)
            return events if events and events[-1]["event"]["type"] == "channel.archived" else []

        events = await until(archived, what="the relay and the persister have told everything")
        told = [each["event"]["type"] for each in events if each["id"] != key]
        assert told == [
            "channel.created",
            "members.added",
            "members.added",
            "channel.topic_set",
            "members.removed",
            "channel.archived",
        ]


async def test_an_id_that_is_too_old_or_too_young_is_refused_with_the_clock_of_the_log(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.web_url, trust_env=False, timeout=30) as http:
        owner = await sign_up(http, f"whole-{new_event_id()[-12:]}")
        channel = await owner.new_channel()
        path = f"/v1/channels/{channel}/messages"
        posted = ok(await owner.post(path, {"text": "x"}), 201)
        expired = refused(
            await owner.post(path, {"text": "x"}, key=new_event_id(posted["at"] - 600_000)), "expired"
        )
        assert expired["now"] >= posted["at"]
        future = refused(
            await owner.post(path, {"text": "x"}, key=new_event_id(posted["at"] + 600_000)), "future"
        )
        assert future["now"] >= posted["at"]
