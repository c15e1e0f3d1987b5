"""How long people take from a scan to its confirmation."""

from __future__ import annotations

import trio
import trio.testing

from triopoll.core.scan_times import ScanTimes


async def test_from_scan_to_confirmation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Only what was scanned here and confirmed afterwards has a time."""
    times = ScanTimes()
    times.note("a", "scanned")
    await trio.sleep(2)
    times.note("b", "scanned")
    await trio.sleep(1)
    times.note("a", "confirmed")
    times.note("b", "rejected")
    times.note("b", "confirmed")
    times.note("elsewhere", "confirmed")
    assert times.seconds() == [3]
    assert repr(times) == "<ScanTimes: 1 times, 0 scans>"


async def test_memory_is_bounded() -> None:
    """The oldest scans and times are forgotten."""
    times = ScanTimes()
    for number in range(5000):
        times.note(f"open-{number}", "scanned")
    for number in range(300):
        times.note(f"done-{number}", "scanned")
        times.note(f"done-{number}", "confirmed")
    assert repr(times) == "<ScanTimes: 200 times, 4095 scans>"
    times.note("open-0", "confirmed")
    assert len(times.seconds()) == 200
