"""What a request of the compatible endpoints asks for, once it has been parsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = [
    "MAX_MESSAGE_ID",
    "Default",
    "GroupCreation",
    "GroupPoll",
    "GroupSending",
    "PollQuery",
    "Sending",
]

Default: TypeAlias = Literal["clear", "set"]

# What the image's slock client writes in 4 bytes, less the one it cannot write.
MAX_MESSAGE_ID = 2**32 - 2

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


@dataclass(frozen=True, slots=True)
class PollQuery:
    """What one poll asks for.

    Attributes:
        key: The event's name, which is also the name of its list.
        default: The state of an event that nobody has touched.
        reset: Whether a successful wait puts the event back.
        timeout: Seconds to wait, from 0 (look without waiting) to the maximum.
        lease: Seconds for which a change that this poll makes to the event holds.
    """

    key: str = field(
        metadata={
            "name": "event",
            "schema": {
                "description": "Name of the event, and of the list.",
                "type": "string",
                "minLength": 1,
                "examples": ["order-1042"],
            },
        }
    )
    default: Default = field(
        metadata={
            "name": "default_type",
            "schema": {
                "description": "The state of an event that nobody has touched.",
                "enum": ["", "clear", "set"],
                "default": "clear",
            },
        }
    )
    reset: bool = field(
        metadata={
            "name": "wait_type",
            "schema": {
                "description": "`reset`: a successful wait puts the event back.",
                "enum": ["", "reset"],
                "default": "",
            },
        }
    )
    timeout: float = field(
        metadata={
            "schema": {
                "description": "Seconds to wait; 0 looks without waiting.",
                "type": "number",
                "minimum": 0,
                "default": 60,
            }
        }
    )
    lease: float = field(metadata={"derived": True})
