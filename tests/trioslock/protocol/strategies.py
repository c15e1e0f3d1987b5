"""Hypothesis strategies for every command and result of the protocol."""

from __future__ import annotations

from hypothesis import strategies as st

from trioslock.protocol import (
    CallCommand,
    CallResult,
    CommandType,
    Data,
    InitCommand,
    InitResult,
    LeaderResult,
    LockCommand,
    LockResult,
    PlainCommand,
    PlainResult,
    StateCommand,
    StateResult,
    SubscribeCommand,
    SubscribeResult,
)

ids = st.binary(min_size=16, max_size=16)
uint8 = st.integers(0, 0xFF)
uint16 = st.integers(0, 0xFFFF)
uint32 = st.integers(0, 0xFFFF_FFFF)
uint64 = st.integers(0, 0xFFFF_FFFF_FFFF_FFFF)
int64 = st.integers(-(2**63), 2**63 - 1)
content = st.binary(max_size=100)
names = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=30)

properties = st.lists(st.tuples(uint8, st.binary(max_size=20)), max_size=3).map(tuple)
values = st.one_of(
    st.binary(max_size=60),
    int64,
    st.lists(st.binary(min_size=1, max_size=9), max_size=5),
    st.dictionaries(st.binary(max_size=9), st.binary(max_size=9), max_size=5),
)
data_frames = st.builds(
    Data,
    raw=content,
    flag=st.sampled_from([0, 1, 2, 4, 0x20]),
    operation=st.integers(0, 0x3F),
    stage=st.integers(0, 3),
    properties=properties,
)
optional_data = st.none() | data_frames.map(Data.encode)


def _lock_flag(flag: int, data: bytes | None) -> int:
    return flag & ~0x20 if data is None else flag | 0x20


lock_commands = st.builds(
    LockCommand,
    type=st.sampled_from([1, 2, 8, 9]),
    request_id=ids,
    flag=uint8,
    db=uint8,
    lock_id=ids,
    key=ids,
    timeout=uint16,
    timeout_flag=uint16,
    expiry=uint16,
    expiry_flag=uint16,
    max_count=uint16,
    rcount=uint8,
    data=optional_data,
).map(lambda c: c._replace(flag=_lock_flag(c.flag, c.data)))

commands = st.one_of(
    lock_commands,
    st.builds(InitCommand, ids, ids),
    st.builds(StateCommand, ids, uint8, uint8),
    st.builds(
        PlainCommand,
        st.sampled_from([4, 5, 6, 10, 12, 200]),
        ids,
    ),
    st.builds(CallCommand, ids, uint8, uint8, uint8, names, content),
    st.builds(SubscribeCommand, ids, uint8, uint32, uint32, uint8, ids, uint32, uint32),
)

lock_results = st.builds(
    LockResult,
    type=st.sampled_from([1, 2, 12]),
    request_id=ids,
    result=uint8,
    flag=uint8,
    db=uint8,
    lock_id=ids,
    key=ids,
    lcount=uint16,
    max_count=uint16,
    lrcount=uint8,
    rcount=uint8,
    data=optional_data,
).map(lambda r: r._replace(flag=_lock_flag(r.flag, r.data)))

results = st.one_of(
    lock_results,
    st.builds(InitResult, ids, uint8, uint8),
    st.builds(
        StateResult,
        ids,
        uint8,
        uint8,
        uint8,
        uint8,
        uint64,
        uint64,
        uint32,
        uint32,
        uint32,
        uint32,
        uint32,
        uint32,
    ),
    st.builds(
        PlainResult,
        st.sampled_from([CommandType.ADMIN, CommandType.PING, CommandType.QUIT]),
        ids,
        uint8,
    ),
    st.builds(CallResult, ids, uint8, uint8, uint8, uint8, names, content),
    st.builds(LeaderResult, ids, uint8, names),
    st.builds(SubscribeResult, ids, uint8, uint8, uint32, uint32),
)
