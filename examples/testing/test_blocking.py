"""Blocking code: a program that is started, and another that holds its key."""

import subprocess
import sys

PROGRAM = """
import sys, trio, trioslock

async def main():
    async with trioslock.open_client(sys.argv[1]) as client:
        async with client.lock("nightly"):
            print("it is my turn", flush=True)
            await trio.to_thread.run_sync(sys.stdin.readline)

trio.run(main)
"""


def start(url):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_second_program_waits_until_the_first_is_killed(slock_server):
    with start(slock_server.url) as first:
        slock_server.wait_claims("nightly", holders=1, timeout=20)
        with start(slock_server.url) as second:
            slock_server.wait_claims("nightly", waiters=1, timeout=20)
            first.kill()
            first.wait()
            # By its lease: the server renews it no more.
            slock_server.advance(60)
            out, _ = second.communicate("\n", timeout=20)
    assert out == "it is my turn\n"
    assert second.returncode == 0
