"""The code under test: a report that one worker makes at a time."""

import trio

import trioslock


async def make_report(client: trioslock.Client, lines: list[str]) -> None:
    async with client.lock("report", lease=5):
        lines.append("begun")
        await trio.sleep(20)
        lines.append("done")


async def make_report_until_lost(client: trioslock.Client, lines: list[str]) -> None:
    try:
        await make_report(client, lines)
    except trioslock.LockLost as error:
        lines.append(f"lost: {error.reason}")
