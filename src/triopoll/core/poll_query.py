"""What the requests of the poll API and the OpenResty API ask for, once parsed.

The parameters that they are parsed from are described beside their parsers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "GROUP_NAMES",
    "MAX_MESSAGE_ID",
    "Default",
    "GroupCreation",
    "GroupPoll",
    "GroupSending",
    "PollQuery",
    "Sending",
]

Default: TypeAlias = Literal["clear", "set"]

# Prefix of the names of group messages in Redis, and of their senders' locks on slock.
GROUP_NAMES = "polling:group:message:"

# The OpenResty slock client writes message ids in 4 bytes, and cannot write the last.
MAX_MESSAGE_ID = 2**32 - 2


@dataclass(frozen=True, slots=True)
class PollQuery:
    """A poll for an event or a message.

    Attributes:
        key: Name of the event, and of the list.
        default: State of an event that nothing has set or cleared.
        reset: Whether a successful wait resets the event to its default.
        timeout: Seconds to wait, from 0 (answer at once) to the maximum.
        lease: Seconds for which a change that this poll makes to the event holds.
    """

    key: str
    default: Default
    reset: bool
    timeout: float
    lease: float


@dataclass(frozen=True, slots=True)
class GroupPoll:
    """A poll for one message of a group.

    Attributes:
        key: Name of the group.
        message_id: Number of the message.
        timeout: Seconds to wait, from 0 (answer at once) to the maximum.
        lease: Seconds for which a renewal by this poll holds.
        renews: Whether it renews the group when no message came.
    """

    key: str
    message_id: int
    timeout: float
    lease: float
    renews: bool


@dataclass(frozen=True, slots=True)
class Sending:
    """An event to set, with or without a message.

    Attributes:
        key: Name of the event.
        default: State of an event that nothing has set or cleared.
        lease: Seconds for which it stays set.
        to_list: Whether a message is appended to the event's list.
    """

    key: str
    default: Default
    lease: float
    to_list: bool


@dataclass(frozen=True, slots=True)
class GroupCreation:
    """A group to create.

    Attributes:
        key: Name of the group.
        message_id: Number of its first message.
        lease: Seconds for which it exists without a message.
    """

    key: str
    message_id: int
    lease: float


@dataclass(frozen=True, slots=True)
class GroupSending:
    """A message for a group.

    Attributes:
        key: Name of the group.
        lease: Seconds for which the group exists from then on. Its message is stored
            for somewhat longer.
    """

    key: str
    lease: float
