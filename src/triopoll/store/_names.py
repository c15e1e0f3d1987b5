"""What our keys in Redis are called, and which of them lie together.

In one server all of them have the prefix and nothing else in front. In a cluster the
prefix is followed by a tag, `triopoll:{TAG}:log:KEY`, so that what one script touches
lies in one slot:

- a log's keys have one of 1,024 tags, chosen by the log's key; those of a state and of
  a stream likewise;
- what is held of a list has a tag that leads to the slot of that list, whose name and
  slot are its publishers' choice;
- what is known of workers has one tag, the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ._slots import slot_of, spread_tags, tag_of

__all__ = ["ClusterLayout", "Layout", "Names", "ServerLayout"]

_LOG_TAGS = 1024
# One probe for each sixteenth of the slots: every primary with more than that has one.
_PROBES = 16


class Names:
    """The names of keys that lie together, below one prefix.

    A name has at most one part that comes from a user, at its end, or says how long
    the first one is; so no two users' parts can make the same name.
    """

    def __init__(self, prefix: str) -> None:
        """Use a prefix that nothing else in this database has."""
        self.prefix = prefix
        self.epoch = f"{prefix}epoch"
        self.histories = f"{prefix}histories"
        self.workers = f"{prefix}workers"
        self.places = f"{prefix}places"
        self.probe = f"{prefix}probe"
        self.due = f"{prefix}due"
        self.due_places = f"{prefix}due-places"
        self.due_counts = f"{prefix}due-counts"
        # What the names of a stream's other keys begin with; scripts make them up.
        self.stream_parts = f"{prefix}stream-"

    def __repr__(self) -> str:
        return f"<Names: {self.prefix!r}>"

    def alive(self, worker: str) -> str:
        """Return the string that is there while a worker is alive."""
        return f"{self.prefix}worker:{worker}"

    def held(self, worker: str) -> str:
        """Return the hash with what a worker holds."""
        return f"{self.prefix}held:{worker}"

    def tags(self, worker: str) -> str:
        """Return the set of tags under which a worker may hold something."""
        return f"{self.prefix}tags:{worker}"

    def log(self, key: str) -> str:
        """Return the stream with the messages of a log."""
        return f"{self.prefix}log:{key}"

    def meta(self, key: str) -> str:
        """Return the hash with the numbers of a log."""
        return f"{self.prefix}meta:{key}"

    def pending(self, key: str) -> str:
        """Return the hash with the messages of a log that are not due yet."""
        return f"{self.prefix}pending:{key}"

    def presence(self, key: str) -> str:
        """Return the hash with what workers report of the waits on a key."""
        return f"{self.prefix}presence:{key}"

    def state(self, key: str) -> str:
        """Return the hash with a state."""
        return f"{self.prefix}state:{key}"

    def stream(self, path: str) -> str:
        """Return the hash with what is known of a stream."""
        return f"{self.prefix}stream:{path}"

    def stream_entries(self, stream_id: str) -> str:
        """Return the Redis stream with the entries of a stream."""
        return f"{self.stream_parts}entries:{stream_id}"

    def seen(self, key: str, name: str) -> str:
        """Return the string with the id of a publisher's message."""
        return f"{self.prefix}seen:{len(key)}:{key}:{name}"

    def key_of_seen(self, seen: str) -> str:
        """Return the key of the log in what `seen` has returned."""
        size, _, rest = seen[len(self.prefix) + len("seen:") :].partition(":")
        return rest[: int(size)]


class Layout(Protocol):
    """Says which names the keys of a list, a log or the workers have.

    Attributes:
        control: The names of what is known of workers.
        probes: Keys that never exist, to try writes with.
        is_spread: Whether keys lie in more places than one.
        log_tags: The tags that the keys of logs have.
    """

    control: Names
    probes: list[str]
    is_spread: bool
    log_tags: Sequence[str]

    def of_list(self, key: str) -> Names:
        """Return the names of what lies with a list; `key` has its prefix."""
        ...

    def of_log(self, key: str) -> Names:
        """Return the names of a log's keys, or of a state's or a stream's."""
        ...

    def of_tag(self, tag: str) -> Names:
        """Return the names with a tag that `tag_in` has returned."""
        ...

    def tag_in(self, names: Names) -> str:
        """Return the tag in these names."""
        ...


class ServerLayout:
    """One server: all keys lie together."""

    is_spread = False
    log_tags: Sequence[str] = ("",)

    def __init__(self, prefix: str) -> None:
        """Use a prefix that nothing else in this database has."""
        self.control = Names(prefix)
        self.probes = [self.control.probe]

    def of_list(self, key: str) -> Names:
        """Return the names that all keys have; see `Layout`."""
        return self.control

    def of_log(self, key: str) -> Names:
        """Return the names that all keys have; see `Layout`."""
        return self.control

    def of_tag(self, tag: str) -> Names:
        """Return the names that all keys have; see `Layout`."""
        return self.control

    def tag_in(self, names: Names) -> str:
        """Return nothing; see `Layout`."""
        return ""


class ClusterLayout:
    """A cluster: keys lie together that have the same tag."""

    is_spread = True

    def __init__(self, prefix: str, list_prefix: str) -> None:
        """Use a prefix that nothing else in this cluster has.

        Raises:
            ValueError: A prefix has a brace, which would be a tag of its own.
        """
        if any(brace in prefix + list_prefix for brace in "{}"):
            raise ValueError("in a cluster the prefixes of keys cannot have braces")
        self._prefix = prefix
        self._names: dict[str, Names] = {}
        self.log_tags: Sequence[str] = spread_tags(_LOG_TAGS)
        self.control = self.of_tag(tag_of(0))
        self.probes = [self.of_tag(tag).probe for tag in spread_tags(_PROBES)]

    def of_list(self, key: str) -> Names:
        """Return the names that lead to the list's own slot; see `Layout`."""
        return self.of_tag(tag_of(slot_of(key)))

    def of_log(self, key: str) -> Names:
        """Return the names of the log's place among all; see `Layout`."""
        return self.of_tag(self.log_tags[slot_of(key) % _LOG_TAGS])

    def of_tag(self, tag: str) -> Names:
        """Return the names with a tag; see `Layout`."""
        names = self._names.get(tag)
        if names is None:
            names = self._names[tag] = Names(f"{self._prefix}{{{tag}}}:")
        return names

    def tag_in(self, names: Names) -> str:
        """Return the tag in these names; see `Layout`."""
        return names.prefix[len(self._prefix) + 1 : -2]
