"""Blocking code in the thread of the test."""

import pytest

from trioslock import LockLost, sync


def make_report(client, lines):
    with client.lock("report", lease=5) as grant:
        lines.append("begun")
        grant.check()
        lines.append("done")


def test_a_report_is_made(slock_sync_client):
    lines = []
    make_report(slock_sync_client, lines)
    assert lines == ["begun", "done"]


def test_no_second_report_is_begun(slock_server, slock_sync_client):
    with sync.open_client(slock_server.url) as other, other.lock("report"):
        with pytest.raises(sync.WouldBlock):
            slock_sync_client.lock("report").try_acquire()


def test_a_report_ends_when_its_lock_is_lost(slock_server, slock_sync_client):
    grant = slock_sync_client.lock("report", lease=5).acquire()
    slock_server.lose("report")
    grant.wait_lost(timeout=5)
    with pytest.raises(LockLost):
        grant.check()
