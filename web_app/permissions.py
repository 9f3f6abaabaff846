"""Who may do what: the one table. Endpoints name their action (`openapi_extra=acts("channel.archive")`), services ask
`require`, docs/permissions.md is written from it (`python -m web_app permissions`), and tests ask the API by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from web_app.problems import ApiError

ROLES: Final = ("owner", "admin", "member", "guest")
EXTENSION: Final = "x-permission"
"""Where an operation of the API's description names its action."""


class Word(NamedTuple):
    """A condition. `code`: the error when it does not hold, `detail`: what is said then; {} is what the action is."""

    meaning: str
    code: str = "forbidden"
    detail: str | None = None


WORDS: Final[dict[str, Word]] = {
    "yes": Word("always"),
    "no": Word("never", detail="Your role may not do this: {}."),
    "seen": Word("who may see the channel: it is public, or they are in it", "not_found"),
    "inside": Word("who is in the channel", "not_a_member"),
    "maker": Word("who made it", detail="Only who made the channel, owners and admins may do this: {}."),
    "author": Word("who wrote the message", detail="Only who wrote the message may do this: {}."),
    "posting": Word(
        "if the channel's setting `posting` is `everyone`",
        detail="Only owners and admins may post in this channel.",
    ),
    "adding": Word(
        "if the channel's setting `adding` is `everyone`",
        detail="Only owners and admins may add people to this channel.",
    ),
    "setting": Word(
        "if the workspace's setting for it (`who_may_...`) is `members`",
        detail="This workspace leaves it to owners and admins: {}.",
    ),
    "lesser": Word("as long as no owner is concerned", detail="Only owners may do this to an owner: {}."),
    "shares": Word("of or with people with whom they share a channel", "not_found"),
}
"""The words that the table is made of."""


class Action(NamedTuple):
    """One line of the table. A cell is a word of `WORDS`, or several joined by ` and `."""

    name: str
    what: str
    owner: str
    admin: str
    member: str
    guest: str

    def of(self, role: str) -> list[str]:
        """What must hold for somebody of this role."""
        cell = getattr(self, role) if role in ROLES else "no"
        return str(cell).split(" and ")


def _for(name: str, what: str, owner: str, admin: str, member: str, guest: str) -> Action:
    return Action(name, what, owner, admin, member, guest)


_ACTIONS: Final = (
    _for("anybody", "sign up, log in, refresh tokens, accept an invitation", "yes", "yes", "yes", "yes"),
    _for("self", "one's own account, profile, sessions, preferences and what one has saved", "yes", "yes", "yes", "yes"),
    _for("workspace.see", "see the workspace and its settings", "yes", "yes", "yes", "yes"),
    _for("workspace.change", "rename the workspace, change its settings", "yes", "yes", "no", "no"),
    _for("workspace.transfer", "hand one's ownership over to somebody", "yes", "no", "no", "no"),
    _for("workspace.leave", "leave the workspace", "yes", "yes", "yes", "yes"),
    _for("workspace.delete", "delete the workspace", "yes", "no", "no", "no"),
    _for("audit.read", "read the audit log", "yes", "yes", "no", "no"),
    _for("announcement.post", "announce something to everybody", "yes", "yes", "no", "no"),
    _for("connections.see", "see everybody's connections", "yes", "yes", "no", "no"),
    _for("people.see", "see the people of the workspace", "yes", "yes", "yes", "shares"),
    _for("people.change_role", "give somebody another role", "yes", "lesser", "no", "no"),
    _for("people.deactivate", "deactivate and reactivate people", "yes", "lesser", "no", "no"),
    _for("invite.create", "invite people", "yes", "lesser", "setting and lesser", "no"),
    _for("invite.manage", "list, withdraw and renew invitations", "yes", "lesser", "no", "no"),
    _for("group.see", "see the user groups", "yes", "yes", "yes", "no"),
    _for("group.manage", "make, change and remove user groups", "yes", "yes", "setting", "no"),
    _for("channel.list", "list channels", "yes", "yes", "yes", "yes"),
    _for("channel.browse", "browse the directory of public channels", "yes", "yes", "yes", "no"),
    _for("channel.create", "make channels", "yes", "yes", "setting", "no"),
    _for("channel.see", "see a channel and who is in it", "seen", "seen", "seen", "inside"),
    _for("channel.change", "rename a channel, set its topic", "inside", "inside", "inside", "no"),
    _for("channel.manage", "archive a channel, make it private, change its settings", "seen", "seen", "inside and maker", "no"),
    _for("channel.set_default", "have new people put into a channel", "seen", "seen", "no", "no"),
    _for("channel.join", "join a channel", "seen", "seen", "seen", "inside"),
    _for("channel.leave", "leave a channel", "inside", "inside", "inside", "inside"),
    _for("channel.prefer", "mute a channel, choose what to hear of it", "inside", "inside", "inside", "inside"),
    _for("member.add", "add people to a channel", "inside", "inside", "inside and adding", "no"),
    _for("member.remove", "remove somebody from a channel", "seen", "seen", "inside and maker", "no"),
    _for("direct.open", "open the channel of a set of people", "yes", "yes", "yes", "shares"),
    _for("history.read", "read what happened in a channel", "inside", "inside", "inside", "inside"),
    _for("message.post", "post, reply and schedule messages", "inside", "inside", "inside and posting", "inside and posting"),
    _for("message.react", "react to messages", "inside", "inside", "inside", "inside"),
    _for("message.pin", "pin messages", "inside", "inside", "inside", "inside"),
    _for("message.edit", "edit a message", *(["inside and author"] * 4)),
    _for("message.edits", "read what an edited message said before", "inside", "inside", "inside and author", "inside and author"),
    _for("message.delete", "delete a message", "inside", "inside", "inside and author", "inside and author"),
)  # fmt: skip

TABLE: Final[dict[str, Action]] = {action.name: action for action in _ACTIONS}


def acts(name: str) -> dict[str, Any]:
    """For a route's `openapi_extra`: the action that it is. Raises KeyError for one that the table lacks."""
    return {EXTENSION: TABLE[name].name}


def lacking(name: str, role: str, facts: Collection[str] = ()) -> str | None:
    """The first word that does not hold for somebody of this role when `facts` are what is true; None: they may."""
    for word in TABLE[name].of(role):
        if word != "yes" and word not in facts:
            return word
    return None


def permits(name: str, role: str, facts: Collection[str] = ()) -> bool:
    return lacking(name, role, facts) is None


def require(name: str, role: str, facts: Collection[str] = ()) -> None:
    """Raises ApiError with the code of what is lacking: forbidden, not_a_member or not_found."""
    word = lacking(name, role, facts)
    if word is None:
        return
    condition = WORDS[word]
    detail = condition.detail.format(TABLE[name].what) if condition.detail else None
    raise ApiError(condition.code, detail)


def page() -> str:
    """docs/permissions.md."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Who may do what"
    yield ""
    yield "Written by `make schemas` from `web_app/permissions.py`; the web app asks that table and nothing else. Each"
    yield f"operation of the REST API names its action in its description, as `{EXTENSION}`."
    yield ""
    yield "| action | what | owner | admin | member | guest |"
    yield "|---|---|---|---|---|---|"
    for action in _ACTIONS:
        cells = " | ".join(getattr(action, role) for role in ROLES)
        yield f"| `{action.name}` | {action.what} | {cells} |"
    yield ""
    yield "What the words mean, and the error when it does not hold:"
    yield ""
    yield "| word | meaning | error |"
    yield "|---|---|---|"
    for name, word in WORDS.items():
        error = "" if name == "yes" else f"`{word.code}`"
        yield f"| {name} | {word.meaning} | {error} |"
    yield ""
    yield "A channel that one may not see, and one that does not exist, are answered alike. Guests are members of the"
    yield "channels that somebody added them to and of nothing else: lists show them only those, and only the people"
    yield "whom they share one with."
