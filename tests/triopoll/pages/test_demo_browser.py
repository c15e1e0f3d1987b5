"""The demo in a browser: a login, an inbox and a job, with faults in between."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from tests.documents import IS_ALIVE, ROOT, on_port, running, wait_for_answer
from tests.services import RedisServer, find_free_port
from tests.triopoll.pages.browser import PATIENCE, Tab
from tests.triopoll.pages.conftest import OpenTab
from tests.triopoll.service import Process, poll_process, slock_process

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[3] / "examples" / "triopoll"
Fault = Callable[[], None]


def test_readme_to_a_login(open_tab: OpenTab, tmp_path: Path) -> None:
    """What the README says to start, open, follow and press leads to a login."""
    readme = (ROOT / "README.md").read_text()
    (command,) = re.findall(r"^python3 .* && (\S+ -k trio .*)$", readme, re.MULTILINE)
    (steps,) = re.findall(r"^1\. Open .*?\n\n", readme, re.MULTILINE | re.DOTALL)
    (address,) = re.findall(r"http://127\.0\.0\.1:8000/\S+", steps)
    login, phone_page, approve = re.findall(r"\*\*(.*?)\*\*", " ".join(steps.split()))
    port = find_free_port()
    words = on_port(command.replace(".venv/bin/", "").split(), port)
    with running(words, {}, tmp_path):
        wait_for_answer(port, IS_ALIVE)
        computer = open_tab()
        computer.open(address.replace("8000", str(port)))
        computer.follow(login)
        computer.until_state("pending")
        phone = open_tab(handle=computer.follow_to_new_tab(phone_page))
        phone.press(approve)
        phone.until_state("approved")
        number = phone.text("#number")
        computer.press(number)
        for tab in (computer, phone):
            tab.until(lambda tab=tab: "signed in" in tab.text("#status").lower())


def phone_page(computer: Tab) -> str:
    """The address in the QR code, as the link beside it has it."""
    computer.until_state("pending")
    href = computer.find("#phone").get_attribute("href")
    assert href is not None
    return href


def log_in(computer: Tab, phone: Tab, site: str, between: Fault) -> None:
    """A whole login, with something between its steps."""
    computer.open(f"{site}/demo/login")
    address = phone_page(computer)
    between()
    phone.open(address)
    phone.until_state("scanned")
    computer.until_state("scanned")
    assert phone.text("#agent").startswith("Mozilla")
    between()
    phone.click("#approve")
    phone.until_state("approved")
    computer.until_state("approved")
    between()
    choose(computer, phone.text("#number"))
    for tab in (computer, phone):
        tab.until_state("confirmed")
    between()
    computer.until(lambda: "You are Ada Lovelace." in computer.text("#status"))
    phone.until(lambda: "is signed in" in phone.text("#status"))


def choose(computer: Tab, number: str) -> None:
    computer.until(lambda: len(computer.texts("#numbers button")) == 3)
    place = computer.texts("#numbers button").index(number) + 1
    computer.click(f"#numbers button:nth-child({place})")


def test_login_with_a_reload_at_each_step(open_tab: OpenTab, site: str) -> None:
    """Both pages are reloaded between all steps, and the login goes on."""
    computer, phone = open_tab(), open_tab()

    def reload() -> None:
        for tab in (phone, computer):
            state = tab.find("body").get_attribute("data-state")
            tab.reload()
            if state:
                tab.until_state(state)

    log_in(computer, phone, site, reload)
    assert computer.foreign_requests() == phone.foreign_requests() == []


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Process]:
    """A service that can be killed: slock and Redis are processes of their own."""
    with ExitStack() as stack:
        slock = stack.enter_context(slock_process())
        redis = RedisServer(tmp_path)
        redis.start()
        stack.callback(redis.stop)
        url = f"slock://127.0.0.1:{slock.port}"
        yield stack.enter_context(
            poll_process(slock=url, redis=redis.url, server="triopoll")
        )


def test_login_with_a_worker_killed_at_each_step(
    open_tab: OpenTab, durable: Process
) -> None:
    """With Redis, the server is killed between all steps, and the login goes on."""
    computer, phone = open_tab(unreachable=True), open_tab(unreachable=True)

    def crash() -> None:
        durable.kill()
        durable.start()

    log_in(computer, phone, f"http://127.0.0.1:{durable.port}", crash)


def test_login_by_keyboard(open_tab: OpenTab, site: str) -> None:
    """A login can be done with Tab and Enter; axe finds nothing at its steps."""
    computer, phone = open_tab(), open_tab()
    computer.open(f"{site}/demo/login")
    phone.open(phone_page(computer))
    phone.until_state("scanned")
    assert phone.accessibility() == []
    press_until(phone, "approve")
    phone.until_state("approved")
    number = phone.text("#number")
    computer.until_state("approved")
    assert computer.accessibility() == phone.accessibility() == []
    press_until(computer, number)
    computer.until_state("confirmed")


def press_until(tab: Tab, name: str) -> None:
    """Press Tab until an element of this id or text has the focus, then Enter."""
    focus = "const it = document.activeElement; return [it.id, it.textContent];"
    for _ in range(20):
        ActionChains(tab.driver).send_keys(Keys.TAB).perform()
        if name in tab.run(focus):
            ActionChains(tab.driver).send_keys(Keys.ENTER).perform()
            return
    raise AssertionError(f"{name} cannot be reached with Tab")


def test_a_wrong_number_ends_the_login(open_tab: OpenTab, site: str) -> None:
    """There is one try: both pages see the rejection, and a new code can be had."""
    computer, phone = open_tab(), open_tab()
    computer.open(f"{site}/demo/login")
    address = phone_page(computer)
    phone.open(address)
    phone.click("#approve")
    phone.until_state("approved")
    right = phone.text("#number")
    computer.until_state("approved")
    wrong = next(one for one in computer.texts("#numbers button") if one != right)
    choose(computer, wrong)
    for tab in (computer, phone):
        tab.until_state("rejected")
    computer.click("#again")
    assert phone_page(computer) != address


def test_the_phone_rejects(open_tab: OpenTab, site: str) -> None:
    """A person who does not know the computer ends the login on both pages."""
    computer, phone = open_tab(), open_tab()
    computer.open(f"{site}/demo/login")
    phone.open(phone_page(computer))
    phone.click("#reject")
    for tab in (phone, computer):
        tab.until_state("rejected")


def send(tab: Tab, text: str) -> None:
    tab.find("#text").send_keys(text, Keys.ENTER)


def test_inbox_in_two_tabs(open_tab: OpenTab, site: str) -> None:
    """Each tab shows each message once, also what came while it was offline."""
    one, two = open_tab(unreachable=True), open_tab(unreachable=True)
    one.open(f"{site}/demo/inbox")
    one.until_state("open")
    two.open(one.find("#other").get_attribute("href"))
    two.until_state("open")
    send(one, "first")
    send(two, "second")
    expected = ["first", "second"]
    for tab in (one, two):
        tab.until(lambda tab=tab: sorted(tab.texts("#messages li")) == expected)
    for tab in (one, two):
        tab.offline(True)
        tab.until(lambda tab=tab: not tab.run("return navigator.onLine"))
    room = urlsplit(one.run("return location.href")).fragment
    for number in range(5):
        expected.append(f"while away {number}")
        post(f"{site}/demo/rooms/{room}/messages", text=expected[-1], id=str(number))
    for tab in (one, two):
        tab.offline(False)
    for tab in (one, two):
        tab.until(lambda tab=tab: len(tab.texts("#messages li")) == len(expected))
    two.reload()
    for tab in (one, two):
        tab.until(lambda tab=tab: sorted(tab.texts("#messages li")) == sorted(expected))


def post(url: str, **body: str) -> Any:
    """Send JSON to a route of the demo, as a page of it does."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return json.load(response)


def test_job_of_this_server(open_tab: OpenTab, site: str) -> None:
    """The bar moves, a reload continues, and the end is shown once it is reached."""
    tab = open_tab()
    tab.open(f"{site}/demo/job")
    tab.click("#form button")
    tab.until_state("running")
    tab.reload()
    tab.until_state("running")
    seen = tab.find("#progress").get_attribute("value")
    tab.until_state("done")
    assert float(seen or 0) < 100
    assert tab.find("#progress").get_attribute("value") == "100"


def test_job_of_a_worker(open_tab: OpenTab, engine: str, site: str) -> None:
    """A program with trioslock does the job; until it runs, the job is queued."""
    tab = open_tab()
    tab.open(f"{site}/demo/job")
    tab.click("#by-worker")
    tab.click("#form button")
    tab.until_state("queued")
    command = [sys.executable, str(EXAMPLES / "job_worker.py"), site, engine]
    with subprocess.Popen(command) as worker:
        try:
            tab.until_state("done")
        finally:
            worker.terminate()


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/demo", "/demo/login", "/demo/phone", "/demo/inbox", "/demo/job"],
)
def test_pages_are_accessible(open_tab: OpenTab, site: str, path: str) -> None:
    """axe finds nothing in light and in dark: labels, roles, contrast, structure."""
    tab = open_tab()
    tab.open(site + path)
    # Of what looks alike, a few are checked: axe takes long for many.
    tab.run(
        "document.querySelectorAll('article ~ article').forEach((it) => it.remove())"
    )
    assert tab.accessibility() == []
    tab.emulate_dark()
    assert tab.accessibility() == []
    assert tab.foreign_requests() == []
