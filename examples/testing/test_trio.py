"""trio: by pytest-trio, with and without its clock that jumps."""

from functools import partial

import pytest
import reports
import trio
from trio.testing import wait_all_tasks_blocked

pytestmark = pytest.mark.trio


async def test_reports_are_made_one_after_the_other(autojump_clock, slock_network):
    lines = []
    async with slock_network.open_client() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reports.make_report, client, lines)
            nursery.start_soon(reports.make_report, client, lines)
    assert lines == ["begun", "done", "begun", "done"]
    assert trio.current_time() >= 40


async def test_a_report_ends_when_its_lock_is_lost(autojump_clock, slock_network):
    lines = []
    async with slock_network.open_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(reports.make_report_until_lost, client, lines)
        await wait_all_tasks_blocked()
        slock_network.lose("report")
    assert lines == ["begun", "lost: expired"]


async def test_a_report_ends_when_the_server_is_away_too_long(
    autojump_clock, slock_network
):
    lines = []
    async with slock_network.open_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(reports.make_report_until_lost, client, lines)
        await wait_all_tasks_blocked()
        slock_network.down()
        await trio.sleep(60)
        slock_network.up()
    assert lines == ["begun", "lost: expired"]


async def test_a_lease_runs_out_over_tcp(slock_server, slock_client):
    lines = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.make_report_until_lost, slock_client, lines)
        # In a thread: the client goes on meanwhile.
        until_held = partial(slock_server.wait_claims, "report", holders=1)
        await trio.to_thread.run_sync(until_held)
        slock_server.advance(60)
    assert lines == ["begun", "lost: expired"]
