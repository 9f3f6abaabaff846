"""REST for workspaces and their people: settings, roles, profiles, invitations, user groups, the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

from client.api import Api
from client.records import Invite, Invited, Page, User
from client.records_people import (
    AuditEntry,
    DoNotDisturb,
    Group,
    GroupReply,
    UserReply,
    WorkspaceReply,
    WorkspaceSettings,
)
from services.contract.ids import new_event_id


class PeopleCalls(Api):
    """Part of `client.rest.RestClient`."""

    # --- the workspace ----------------------------------------------------------------------------------------

    async def workspace(self) -> WorkspaceSettings:
        return await self.call("GET", "/v1/workspace", WorkspaceSettings)

    async def change_workspace(self, **settings: str | int | None) -> WorkspaceReply:
        """`name`, `max_text`, `edit_window_s`, `who_may_invite` ... as `WorkspaceSettings` has them."""
        return await self.call("PATCH", "/v1/workspace", WorkspaceReply, body=settings, key=new_event_id())

    async def transfer_ownership(self, user_id: str) -> UserReply:
        """They become an owner, and you an admin."""
        return await self.call(
            "POST", "/v1/workspace/transfer", UserReply, body={"user_id": user_id}, key=new_event_id()
        )

    async def leave_workspace(self) -> None:
        """Your account there is deactivated; the tokens are forgotten."""
        await self.call("POST", "/v1/workspace/leave", type(None))
        self.tokens.save(None)

    async def delete_workspace(self, slug: str) -> None:
        """For good, for everybody. `slug`: the workspace's, once more; the tokens are forgotten."""
        await self.call("POST", "/v1/workspace/delete", type(None), body={"slug": slug})
        self.tokens.save(None)

    async def audit(
        self, *, action: str | None = None, actor_id: str | None = None, target: str | None = None
    ) -> AsyncIterator[AuditEntry]:
        """What was done, the newest first; all of it or what one of these says. For owners and admins."""
        given = {"action": action, "actor_id": actor_id, "target": target}
        params = {name: value for name, value in given.items() if value is not None}
        async for entry in self._pages("/v1/audit", Page[AuditEntry], **params):
            yield entry

    # --- people -----------------------------------------------------------------------------------------------

    async def user(self, user_id: str) -> User:
        return await self.call("GET", f"/v1/users/{quote(user_id)}", User)

    async def change_role(self, user_id: str, role: str) -> UserReply:
        return await self.call(
            "PATCH", f"/v1/users/{quote(user_id)}", UserReply, body={"role": role}, repeatable=True
        )

    async def change_profile(self, **profile: str) -> UserReply:
        """`name`, `display_name`, `title`, `avatar_url`, `time_zone`: what is given changes."""
        return await self.call("PATCH", "/v1/me/profile", UserReply, body=profile, key=new_event_id())

    async def set_status(self, text: str, *, emoji: str = "", expires_at: str | None = None) -> UserReply:
        """`expires_at`: a time with a zone (RFC 3339), from which on nobody is shown it."""
        body = {"text": text, "emoji": emoji, "expires_at": expires_at}
        return await self.call("PUT", "/v1/me/status", UserReply, body=body, repeatable=True)

    async def clear_status(self) -> UserReply:
        return await self.call("DELETE", "/v1/me/status", UserReply, repeatable=True)

    async def change_password(self, current: str, new: str) -> None:
        """Ends all your other sessions."""
        body = {"current_password": current, "new_password": new}
        await self.call("POST", "/v1/auth/password", type(None), body=body)

    # --- being left alone -------------------------------------------------------------------------------------

    async def do_not_disturb(self) -> DoNotDisturb:
        return await self.call("GET", "/v1/me/do-not-disturb", DoNotDisturb)

    async def set_do_not_disturb(self, starts: str | None, ends: str | None) -> DoNotDisturb:
        """Every day between two times such as 22:00 and 07:30, by the clock on your wall; None and None: never."""
        body = {"starts": starts, "ends": ends}
        return await self.call("PUT", "/v1/me/do-not-disturb", DoNotDisturb, body=body, repeatable=True)

    async def snooze(self, until: str) -> DoNotDisturb:
        """Until a time with a zone (RFC 3339), within the next 31 days."""
        path = "/v1/me/do-not-disturb/snooze"
        return await self.call("PUT", path, DoNotDisturb, body={"until": until}, repeatable=True)

    async def end_snooze(self) -> DoNotDisturb:
        return await self.call("DELETE", "/v1/me/do-not-disturb/snooze", DoNotDisturb, repeatable=True)

    # --- invitations ------------------------------------------------------------------------------------------

    async def invite(self, email: str, role: str = "member", *, channel_ids: Sequence[str] = ()) -> Invited:
        """`channel_ids`: channels of yours that they are put into, besides the default ones; guests into no other."""
        body: dict[str, object] = {"email": email, "role": role}
        if channel_ids:
            body["channel_ids"] = list(channel_ids)
        return await self.call("POST", "/v1/invites", Invited, body=body, key=new_event_id())

    async def invites(self) -> AsyncIterator[Invite]:
        """Those that can still be accepted."""
        async for invite in self._pages("/v1/invites", Page[Invite]):
            yield invite

    async def renew_invite(self, invite_id: str) -> Invited:
        """Another link; the one of before is worthless."""
        return await self.call("POST", f"/v1/invites/{quote(invite_id)}/renew", Invited, repeatable=True)

    async def withdraw_invite(self, invite_id: str) -> None:
        await self.call("DELETE", f"/v1/invites/{quote(invite_id)}", type(None), key=new_event_id())

    # --- user groups ------------------------------------------------------------------------------------------

    async def groups(self) -> AsyncIterator[Group]:
        async for group in self._pages("/v1/groups", Page[Group]):
            yield group

    async def group(self, group_id: str) -> Group:
        """With everybody in it."""
        return await self.call("GET", f"/v1/groups/{quote(group_id)}", Group)

    async def create_group(
        self, handle: str, name: str, *, description: str = "", user_ids: Sequence[str] = ()
    ) -> GroupReply:
        body = {"handle": handle, "name": name, "description": description, "user_ids": list(user_ids)}
        return await self.call("POST", "/v1/groups", GroupReply, body=body, key=new_event_id())

    async def change_group(self, group_id: str, **changes: str) -> GroupReply:
        """`handle`, `name`, `description`: what is given changes."""
        return await self.call(
            "PATCH", f"/v1/groups/{quote(group_id)}", GroupReply, body=changes, key=new_event_id()
        )

    async def remove_group(self, group_id: str) -> None:
        await self.call("DELETE", f"/v1/groups/{quote(group_id)}", type(None), key=new_event_id())

    async def add_group_members(self, group_id: str, user_ids: Sequence[str]) -> GroupReply:
        path = f"/v1/groups/{quote(group_id)}/members"
        return await self.call(
            "POST", path, GroupReply, body={"user_ids": list(user_ids)}, key=new_event_id()
        )

    async def remove_group_member(self, group_id: str, user_id: str) -> GroupReply:
        path = f"/v1/groups/{quote(group_id)}/members/{quote(user_id)}"
        return await self.call("DELETE", path, GroupReply, key=new_event_id())
