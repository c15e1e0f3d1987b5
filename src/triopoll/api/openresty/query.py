"""Read the query strings of the OpenResty image's endpoints.

Names, defaults and bounds are the image's. It takes a parameter that it cannot use for
one that is absent; here it is refused with a sentence, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ...settings import Settings
from ..poll.query import (
    BadParameter,
    Default,
    PollQuery,
    read_key,
    read_parameters,
    read_seconds,
    read_timeout,
)

__all__ = [
    "MAX_MESSAGE_ID",
    "GroupCreation",
    "GroupPoll",
    "GroupSending",
    "Sending",
    "parse_group_creation",
    "parse_group_poll",
    "parse_group_sending",
    "parse_image_poll",
    "parse_sending",
    "speaks_image",
]

# What the image's slock client writes in 4 bytes, less the one it cannot write.
MAX_MESSAGE_ID = 2**32 - 2
# Seconds for which a change to an event or a group holds. The image has the lower
# bound; the upper is the longest that its slock client can ask for.
_MIN_LEASE, _MAX_LEASE = 60.0, 65535.0


_Words: TypeAlias = Mapping[str, object]


def _told(name: str, description: str, kind: str, **more: object) -> _Words:
    """Return the metadata of a field that is a parameter (see `openapi`)."""
    schema = {"description": description, "type": kind, **more}
    return {"name": name, "schema": schema}


def _told_key(what: str) -> _Words:
    return _told("key", f"Name of the {what}.", "string", minLength=1)


def _told_lease(description: str) -> _Words:
    # Others are taken as well, and moved within these.
    return _told("expried", description, "number", minimum=60, default=60)


def _told_flag(name: str, description: str) -> _Words:
    return _told(name, description, "string", default="false")


def _told_message_id(description: str) -> _Words:
    bounds = {"minimum": 0, "maximum": MAX_MESSAGE_ID, "default": 0}
    return _told("msg_id", description, "integer", **bounds)


@dataclass(frozen=True, slots=True)
class GroupPoll:
    """What one poll of a group asks for.

    Attributes:
        key: The group's name.
        message_id: The message it wants.
        timeout: Seconds to wait, from 0 (look without waiting) to the maximum.
        lease: Seconds for which a renewal by this poll holds.
        renews: Whether it keeps the group alive when nothing came.
    """

    key: str = field(metadata=_told_key("group"))
    message_id: int = field(metadata=_told_message_id("Number of the message."))
    timeout: float = field(
        metadata=_told("timeout", "Seconds to wait.", "number", minimum=0, default=60)
    )
    lease: float = field(
        metadata=_told_lease("Seconds for which a renewal of the group holds.")
    )
    renews: bool = field(
        metadata=_told_flag("keep_seted", "Any word but `false`: do not renew.")
    )


@dataclass(frozen=True, slots=True)
class Sending:
    """An event to set, perhaps with a message.

    Attributes:
        key: Its name.
        default: The state of an event that nobody has touched.
        lease: Seconds for which it stays set.
        to_list: Whether a message goes to the end of the event's list.
    """

    key: str = field(metadata=_told_key("event"))
    default: Default = field(
        metadata=_told_flag("default_seted", "Any word but `false`: set by default.")
    )
    lease: float = field(metadata=_told_lease("Seconds for which the event stays set."))
    to_list: bool = field(metadata={"derived": True})


@dataclass(frozen=True, slots=True)
class GroupCreation:
    """A group to create.

    Attributes:
        key: The group's name.
        message_id: What its first message is to be called.
        lease: Seconds for which it lasts without a message.
    """

    key: str = field(metadata=_told_key("group"))
    message_id: int = field(metadata=_told_message_id("Number of the first message."))
    lease: float = field(metadata=_told_lease("Seconds for which the group lives."))


@dataclass(frozen=True, slots=True)
class GroupSending:
    """A message for a group.

    Attributes:
        key: The group's name.
        lease: Seconds for which the group lasts then, and the message a bit longer.
    """

    key: str = field(metadata=_told_key("group"))
    lease: float = field(
        metadata=_told_lease("Seconds for which the group lives from now on.")
    )


def speaks_image(query: bytes) -> bool:
    """Return whether a poll names its event ``key``, as the image has it.

    One that cannot be read does not: whoever reads it next says what is wrong.
    """
    # Nearly all polls do not, and need not be read twice.
    if b"key=" not in query:
        return False
    try:
        given = read_parameters(query, ("key", "event"))
    except BadParameter:
        return b"event=" not in query
    return "key" in given and "event" not in given


def parse_image_poll(query: bytes, settings: Settings) -> PollQuery:
    """Read the parameters of the image's ``/poll/event`` and ``/poll/message``.

    A successful wait puts an event back that is clear by default, unless it is to be
    kept; one that is set by default it leaves alone.

    Raises:
        BadParameter: For anything that is not as documented.
    """
    names = ("key", "timeout", "default_seted", "expried", "keep_seted")
    given = read_parameters(query, names)
    default = _default(given)
    timeout = read_timeout(given, settings)
    return PollQuery(
        key=read_key(given, "key", settings),
        default=default,
        reset=default == "clear" and not _is_given(given, "keep_seted"),
        timeout=timeout,
        lease=_lease(given, 2 * timeout),
    )


def parse_group_poll(query: bytes, settings: Settings) -> GroupPoll:
    """Read the parameters of ``/poll/group/message``.

    The member that asks (``client_id``) makes no difference: each wait is one of its
    own, so that two of one member are two.

    Raises:
        BadParameter: For anything that is not as documented.
    """
    names = ("key", "msg_id", "timeout", "expried", "keep_seted")
    given = read_parameters(query, names)
    key = read_key(given, "key", settings, "group")
    timeout = read_timeout(given, settings)
    lease = _lease(given, 2 * timeout)
    renews = not _is_given(given, "keep_seted")
    return GroupPoll(key, _message_id(given), timeout, lease, renews)


def parse_sending(query: bytes, settings: Settings) -> Sending:
    """Read the parameters of ``/poll/event/emit`` and ``/poll/message/send``.

    Raises:
        BadParameter: For anything that is not as documented.
    """
    given = read_parameters(query, ("key", "event", "default_seted", "expried"))
    if "key" in given and "event" in given:
        raise BadParameter("key and event are given, which are two names of one thing")
    name = "event" if "event" in given else "key"
    key = read_key(given, name, settings)
    return Sending(key, _default(given), _lease(given), name == "event")


def parse_group_creation(query: bytes, settings: Settings) -> GroupCreation:
    """Read the parameters of ``/poll/group/message/create``.

    Raises:
        BadParameter: For anything that is not as documented.
    """
    given = read_parameters(query, ("key", "msg_id", "expried"))
    key = read_key(given, "key", settings, "group")
    return GroupCreation(key, _message_id(given), _lease(given))


def parse_group_sending(query: bytes, settings: Settings) -> GroupSending:
    """Read the parameters of ``/poll/group/message/send``.

    Raises:
        BadParameter: For anything that is not as documented.
    """
    given = read_parameters(query, ("key", "expried"))
    return GroupSending(read_key(given, "key", settings, "group"), _lease(given))


def _is_given(given: Mapping[str, str], name: str) -> bool:
    """Return a flag: the image takes every word for yes, except one."""
    return given.get(name, "false") != "false"


def _default(given: Mapping[str, str]) -> Default:
    return "set" if _is_given(given, "default_seted") else "clear"


def _lease(given: Mapping[str, str], default: float = 0) -> float:
    seconds = read_seconds(given, "expried")
    return min(max(default if seconds is None else seconds, _MIN_LEASE), _MAX_LEASE)


def _message_id(given: Mapping[str, str]) -> int:
    text = given.get("msg_id", "") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise BadParameter("msg_id is not a whole number, 0 or above")
    if int(text) > MAX_MESSAGE_ID:
        raise BadParameter(f"msg_id is above {MAX_MESSAGE_ID}")
    return int(text)
