"""Read the query strings of the OpenResty image's endpoints.

Names, defaults and bounds are the image's. It takes a parameter that it cannot use for
one that is absent; here it is refused with a sentence, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...asgi.query import Query
from ...core.poll_query import (
    MAX_MESSAGE_ID,
    Default,
    GroupCreation,
    GroupPoll,
    GroupSending,
    PollQuery,
    Sending,
)
from ...settings import Settings
from ..poll.query import (
    BadParameter,
    read_key,
    read_parameters,
    read_seconds,
    read_timeout,
)

__all__ = [
    "parse_group_creation",
    "parse_group_poll",
    "parse_group_sending",
    "parse_openresty_poll",
    "parse_sending",
]

# Seconds for which a change to an event or a group holds. The image has the lower
# bound; the upper is the longest that its slock client can ask for.
_MIN_LEASE, _MAX_LEASE = 60.0, 65535.0


def parse_openresty_poll(query: Query, settings: Settings) -> PollQuery:
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


def parse_group_poll(query: Query, settings: Settings) -> GroupPoll:
    """Read the parameters of ``/poll/group/message``.

    The member that asks (``client_id``) makes no difference: each wait is one of its
    own, so that two of one member are two.

    Raises:
        BadParameter: For anything that is not as documented.
    """
    given = read_parameters(
        query, ("key", "msg_id", "timeout", "expried", "keep_seted")
    )
    key = read_key(given, "key", settings, "group")
    timeout = read_timeout(given, settings)
    lease = _lease(given, 2 * timeout)
    renews = not _is_given(given, "keep_seted")
    return GroupPoll(key, _message_id(given), timeout, lease, renews)


def parse_sending(query: Query, settings: Settings) -> Sending:
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


def parse_group_creation(query: Query, settings: Settings) -> GroupCreation:
    """Read the parameters of ``/poll/group/message/create``.

    Raises:
        BadParameter: For anything that is not as documented.
    """
    given = read_parameters(query, ("key", "msg_id", "expried"))
    key = read_key(given, "key", settings, "group")
    return GroupCreation(key, _message_id(given), _lease(given))


def parse_group_sending(query: Query, settings: Settings) -> GroupSending:
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
