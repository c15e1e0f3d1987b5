"""The description of the poll API and the OpenResty API agrees with what they read."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
import pytest

from triopoll.api.openapi_types import (
    GroupCreateParameters,
    GroupPollParameters,
    GroupSendParameters,
    PollParameters,
    SendParameters,
)
from triopoll.api.openresty.query import (
    parse_group_creation,
    parse_group_poll,
    parse_group_sending,
    parse_sending,
)
from triopoll.api.poll.query import parse_poll
from triopoll.asgi.query import Query, parse_query
from triopoll.settings import Settings

SETTINGS = Settings(default_timeout=60)


def query(parameters: dict[str, object]) -> Query:
    return parse_query(urlencode(parameters).encode())


@pytest.mark.parametrize(
    ("parse", "kind"),
    [
        (parse_poll, PollParameters),
        (parse_group_poll, GroupPollParameters),
        (parse_sending, SendParameters),
        (parse_group_creation, GroupCreateParameters),
        (parse_group_sending, GroupSendParameters),
    ],
)
def test_names_and_defaults(parse: object, kind: type[msgspec.Struct]) -> None:
    """A query with every default written out means the same as one without."""
    assert callable(parse)
    key = next(iter(kind.__struct_fields__))
    shape = msgspec.convert({key: "k"}, kind)
    given = msgspec.structs.asdict(shape)
    full = {name: each for name, each in given.items() if each is not msgspec.UNSET}
    short = parse(query({key: "k"}), SETTINGS)
    assert parse(query(full), SETTINGS) == short
    # A name that the parser does not know would have no effect; these have one.
    for name in full.keys() & {"timeout", "expried", "msg_id"}:
        other = query({**full, name: 77})
        assert parse(other, SETTINGS) != short
