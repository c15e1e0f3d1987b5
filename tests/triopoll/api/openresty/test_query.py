"""Query strings of the image's endpoints: read exactly, or refused with a sentence."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triopoll.api.openresty.query import (
    parse_group_creation,
    parse_group_poll,
    parse_group_sending,
    parse_openresty_poll,
    parse_sending,
)
from triopoll.api.poll.query import BadParameter
from triopoll.api.refusals import is_openresty_poll
from triopoll.asgi.messages import Request
from triopoll.asgi.query import BadQuery, parse_query
from triopoll.core.poll_query import (
    GroupCreation,
    GroupPoll,
    GroupSending,
    PollQuery,
    Sending,
)
from triopoll.settings import Settings

SETTINGS = Settings(default_timeout=60, max_timeout=300, max_key_bytes=64)


def test_defaults() -> None:
    """Only the key is needed."""
    query = b"key=k"
    poll = PollQuery("k", default="clear", reset=True, timeout=60, lease=120)
    assert parse_openresty_poll(parse_query(query), SETTINGS) == poll
    group = GroupPoll("k", message_id=0, timeout=60, lease=120, renews=True)
    assert parse_group_poll(parse_query(query), SETTINGS) == group
    sending = Sending("k", default="clear", lease=60, to_list=False)
    assert parse_sending(parse_query(query), SETTINGS) == sending
    creation = GroupCreation("k", message_id=0, lease=60)
    assert parse_group_creation(parse_query(query), SETTINGS) == creation
    assert parse_group_sending(parse_query(query), SETTINGS) == GroupSending(
        "k", lease=60
    )


def test_everything_given() -> None:
    """Among others that are not ours."""
    rest = b"&timeout=2&expried=90&default_seted=true&keep_seted=true&msg_id=7&_=1"
    rest += b"&client_id=one"
    query = b"key=a%2Fb+c" + rest
    poll = PollQuery("a/b c", default="set", reset=False, timeout=2, lease=90)
    assert parse_openresty_poll(parse_query(query), SETTINGS) == poll
    group = GroupPoll("a/b c", message_id=7, timeout=2, lease=90, renews=False)
    assert parse_group_poll(parse_query(query), SETTINGS) == group
    sending = Sending("a/b c", default="set", lease=90, to_list=False)
    assert parse_sending(parse_query(query), SETTINGS) == sending
    to_list = Sending("k", default="set", lease=90, to_list=True)
    assert parse_sending(parse_query(b"event=k" + rest), SETTINGS) == to_list
    creation = GroupCreation("a/b c", message_id=7, lease=90)
    assert parse_group_creation(parse_query(query), SETTINGS) == creation
    assert parse_group_sending(parse_query(query), SETTINGS) == GroupSending(
        "a/b c", lease=90
    )


@pytest.mark.parametrize(
    ("word", "default"),
    [("false", "clear"), ("true", "set"), ("0", "set"), ("", "set"), ("False", "set")],
)
def test_every_word_but_one_is_yes(word: str, default: str) -> None:
    """The image compares with false and nothing else."""
    query = f"key=k&default_seted={word}&keep_seted={word}".encode()
    poll = parse_openresty_poll(parse_query(query), SETTINGS)
    assert (poll.default, poll.reset) == (default, default == "clear")
    assert parse_group_poll(parse_query(query), SETTINGS).renews == (default == "clear")


@pytest.mark.parametrize(
    ("query", "lease"),
    [
        (b"timeout=20", 60),
        (b"timeout=31", 62),
        (b"timeout=0", 60),
        (b"timeout=400", 600),
        (b"timeout=200&expried=70", 70),
        (b"timeout=200&expried=1", 60),
        (b"expried=1e9", 65535),
        (b"expried=1e999", None),
        (b"expried=-1", None),
        (b"expried=70000", 65535),
        (b"expried=", 120),
    ],
)
def test_leases(query: bytes, lease: float | None) -> None:
    """Twice the timeout or what is asked for, within bounds."""
    if lease is None:
        with pytest.raises(BadParameter, match=r"^expried is not a number of seconds"):
            parse_openresty_poll(parse_query(b"key=k&" + query), SETTINGS)
    else:
        assert (
            parse_openresty_poll(parse_query(b"key=k&" + query), SETTINGS).lease
            == lease
        )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"", 0),
        (b"0", 0),
        (b"00012", 12),
        (b"4294967294", 2**32 - 2),
        (b"4294967295", None),
        (b"9999999999", None),
        (b"00000000001", None),
        (b"-1", None),
        (b"1.0", None),
        (b"1e3", None),
        ("٣".encode(), None),
    ],
)
def test_message_ids(text: bytes, number: int | None) -> None:
    """Whole numbers that the image can write, too."""
    query = b"key=k&msg_id=" + text
    if number is None:
        for parse in (parse_group_poll, parse_group_creation):
            with pytest.raises(BadParameter, match=r"^msg_id is "):
                parse(parse_query(query), SETTINGS)
    else:
        assert parse_group_poll(parse_query(query), SETTINGS).message_id == number
        assert parse_group_creation(parse_query(query), SETTINGS).message_id == number


@pytest.mark.parametrize(
    ("query", "image"),
    [
        (b"", False),
        (b"event=a", False),
        (b"key=a", True),
        (b"key=", True),
        (b"key=a&event=a", False),
        (b"event=&key=a", False),
        (b"monkey=a", False),
        (b"event=a?key=b", False),
        (b"event=a&key=b&key=c", False),
        (b"key=b&key=c", True),
        (b"key=%ff", True),
    ],
)
def test_whose_poll_it_is(query: bytes, image: bool) -> None:
    """The recipe's, unless it has a key and no event."""
    assert is_openresty_poll(Request("GET", "/poll/event", query, ())) == image


@given(st.binary(max_size=200))
def test_nothing_but_a_sentence_comes_of_garbage(query: bytes) -> None:
    """Whatever arrives is read or refused."""
    is_openresty_poll(Request("GET", "/poll/event", query, ()))
    for parse in (
        parse_openresty_poll,
        parse_group_poll,
        parse_sending,
        parse_group_creation,
        parse_group_sending,
    ):
        for text in (query, b"key=k&" + query):
            with contextlib.suppress(BadQuery):
                parse(parse_query(text), SETTINGS)
