"""The tutorial's QR login: three backends, their pages, and a restart in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.examples.http_browser import Browser
from tests.services import RedisServer, find_free_port
from tests.triopoll.pages.conftest import OpenTab
from tests.triopoll.service import LIMIT, Process, poll_process, slock_process

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
BACKENDS = {
    "flask": ("flask", "--app", "backend_flask", "run", "--port", "PORT"),
    "fastapi": ("uvicorn", "backend_fastapi:app", "--port", "PORT"),
    "quart": (
        *("hypercorn", "-k", "trio", "-w", "0", "-b", "127.0.0.1:PORT"),
        "backend_quart:app",
    ),
}


@dataclass
class Site:
    """A backend, and the triopoll that its pages ask."""

    url: str
    push: Process


@pytest.fixture(params=BACKENDS)
def site(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer
) -> Iterator[Site]:
    port = find_free_port()
    with ExitStack() as stack:
        slock = stack.enter_context(slock_process())
        push = poll_process(
            slock=f"slock://127.0.0.1:{slock.port}",
            redis=redis_server.url,
            server="triopoll",
            cors_origins=f"http://127.0.0.1:{port}",
        )
        stack.enter_context(push)
        backend = Process(
            BACKENDS[request.param],
            {
                "PYTHONPATH": os.pathsep.join(
                    [str(EXAMPLES / "qr_login"), os.environ.get("PYTHONPATH", "")]
                ),
                "TRIOPOLL_URL": f"http://127.0.0.1:{push.port}",
            },
            port,
        )
        stack.enter_context(backend)
        yield Site(f"http://127.0.0.1:{port}", push)


def test_steps_of_a_login(site: Site) -> None:
    """A login ends in one session; others, and a second use, are refused."""
    computer, phone, other = (Browser(site.url) for _ in range(3))
    login = computer.post("/logins")
    assert login["svg"].startswith("<?xml")
    key, secret = login["key"], login["poll_secret"]
    found = phone.post(f"/logins/{key}/scan")
    assert (found["address"], found["age"] < LIMIT * 10) == ("127.0.0.1", True)
    assert found["user_agent"].startswith("Python-urllib")
    other.post(f"/logins/{key}/scan", 409)
    other.post(f"/logins/{key}/approve", 403)
    computer.post("/session", 403, key=key, poll_secret=secret)
    phone.post(f"/logins/{key}/approve")
    site.push.kill()
    site.push.start()
    choice = {"poll_secret": secret, "choice": found["number"]}
    other.post(f"/logins/{key}/choose", 404, **{**choice, "poll_secret": key})
    computer.post(f"/logins/{key}/choose", **choice)
    mine = {"key": key, "poll_secret": secret}
    assert computer.post("/session", **mine) == {"user": "ada"}
    computer.post("/session", 410, **mine)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("site", ["flask"], indirect=True)
@pytest.mark.browser
def test_pages_of_the_tutorial(site: Site, open_tab: OpenTab) -> None:
    """The pages are of another origin than triopoll, and sign in all the same."""
    computer, phone = open_tab(), open_tab()
    computer.open(site.url)
    computer.until(lambda: computer.text("#status") == "pending")
    phone.open(computer.find("#phone").get_attribute("href"))
    phone.until(lambda: "seconds ago" in phone.text("#status"))
    phone.click("#approve")
    phone.until(lambda: phone.text("#status").startswith("Choose"))
    number = phone.text("#status").split()[1]
    computer.until(lambda: len(computer.texts("#numbers button")) == 3)
    place = computer.texts("#numbers button").index(number) + 1
    computer.click(f"#numbers button:nth-child({place})")
    computer.until(lambda: computer.text("#status") == "Signed in as ada")
