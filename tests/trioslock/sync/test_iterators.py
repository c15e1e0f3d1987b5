"""Iterators in blocking code."""

from __future__ import annotations

import pytest
import trio

from trioslock import sync
from trioslock.sync._background import hold, let_go
from trioslock.sync._iterators import Waiting
from trioslock.testing import SlockServer


def test_an_iterator_waits_and_ends() -> None:
    async def take() -> int:
        if not items:
            raise StopAsyncIteration
        if items[0] == 0:
            await trio.sleep_forever()
        return items.pop(0)

    background = hold()
    items = [1, 2]
    assert list(Waiting(background, take)) == [1, 2]
    items = [0]
    with pytest.raises(TimeoutError):
        Waiting(background, take).next(timeout=0.01)
    let_go(background)


def test_changes_of_a_replica_set(server: SlockServer) -> None:
    url = f"slock://127.0.0.1:{server.port},127.0.0.1:{server.port}"
    with sync.open_client(url, wait_connected=False) as client:
        changes = client.changes()
        state = changes.next(timeout=10)
        assert len(state.members) >= 1
        client.add_member("127.0.0.1", server.port)


def test_a_subscription_reports(server: SlockServer) -> None:
    from trioslock import Flags

    with sync.open_client(server.url) as client:
        try:
            with client.subscribe(timeout=5) as changes:
                lock = client.lock("key", flags=Flags(publish=True))
                with lock, pytest.raises(sync.WouldBlock):
                    lock.try_acquire()
                change = next(changes)
                assert change.kind == "refused"
                assert (changes.db, len(changes.masks)) == (0, 1)
                assert changes.statistics().received == 1
                assert "Subscription" in repr(changes)
        except sync.SlockError as error:
            pytest.fail(str(error))
