"""Streams: an answer on a page that is reloaded, and the log of a job."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services import RedisServer, find_free_port, wait_for_line
from tests.triopoll.pages.conftest import OpenTab
from tests.triopoll.service import LIMIT, Process, poll_process, slock_process

EXAMPLES = Path(__file__).parents[2] / "examples" / "streams"


@pytest.fixture
def site() -> str:
    """The address of the page's backend."""
    return f"http://127.0.0.1:{find_free_port()}"


@pytest.fixture
def push(redis_server: RedisServer, site: str) -> Iterator[Process]:
    """The service on Redis, so that it can be killed; it lets the page's origin in."""
    with slock_process() as slock:
        service = poll_process(
            slock=f"slock://127.0.0.1:{slock.port}",
            redis=redis_server.url,
            server="triopoll",
            cors_origins=site,
        )
        with service:
            yield service


def environment(push: Process) -> dict[str, str]:
    path = os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "TRIOPOLL_URL": f"http://127.0.0.1:{push.port}"}


@pytest.fixture
def poem(monkeypatch: pytest.MonkeyPatch) -> str:
    """What the page shows in the end."""
    monkeypatch.syspath_prepend(EXAMPLES)
    answers: Any = importlib.import_module("answers")
    return str(answers.POEM)


# The tokens to be there when the page is reloaded, and when the service is killed.
EARLY, LATER = "In the forests", "In what distant"


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_an_answer_survives_a_reload(
    site: str, push: Process, poem: str, open_tab: OpenTab
) -> None:
    """In mid-sentence, and a killed service: all words are there once, in order."""
    backend = Process(
        ["uvicorn", "answers:app", "--port", "PORT"],
        {**environment(push), "TOKEN_SECONDS": "0.2"},
        int(site.rpartition(":")[2]),
    )
    tab = open_tab(unreachable=True)

    def shown() -> str:
        text: str = tab.run("return document.querySelector('#answer').textContent")
        return text

    with backend:
        tab.open(site)
        tab.click("#ask")
        tab.until(lambda: EARLY in shown())
        tab.reload()
        tab.until(lambda: tab.text("#status") == "reading")
        assert LATER not in shown(), "the poem is over too early to be reloaded"
        tab.until(lambda: LATER in shown())
        push.kill()
        push.start()
        tab.until(lambda: tab.text("#status") == "done")
        assert shown() == "".join(f"{word} " for word in poem.split(" "))
        # Since the reload, the page has asked for the rest only.
        script = "return performance.getEntriesByType('resource').map((e) => e.name)"
        asked = [each for each in tab.run(script) if "live=sse" in each]
        assert asked
        assert [each for each in asked if "offset=-1" in each] == []
        again = open_tab()
        again.open(tab.driver.current_url)
        again.until(lambda: again.text("#status") == "done")


@pytest.mark.slow
def test_the_log_of_a_job(push: Process) -> None:
    """A reader has all lines in order, over a service that is killed."""
    env = {**os.environ, **environment(push)}
    program = [sys.executable, str(EXAMPLES / "job_log.py")]
    # Each line of what it is told.
    job = "import sys\nfor line in sys.stdin: print('did', line, end='', flush=True)"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*program, "run", "job", sys.executable, "-c", job],
        env=env,
        stdin=pipe,
        stdout=pipe,
        text=True,
    ) as running:
        assert running.stdin is not None
        print("one", file=running.stdin, flush=True)
        wait_for_line(running, "the log is at ")
        with subprocess.Popen(
            [*program, "follow", "job"], env=env, stdout=pipe, text=True
        ) as follower:
            assert follower.stdout is not None
            assert follower.stdout.readline() == "did one\n"
            push.kill()
            push.start()
            print("two\nthree", file=running.stdin, flush=True)
            running.stdin.close()
            assert running.wait(LIMIT) == 0
            assert follower.stdout.read() == "did two\ndid three\nexit code 0\n"
    assert follower.returncode == 0
