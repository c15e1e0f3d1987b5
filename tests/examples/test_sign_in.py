"""The session cookie of four frameworks, exchanged for a ticket."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.examples.http_browser import Browser
from tests.triopoll.service import Process

from triopoll.access import TicketReader, secret_verifier

EXAMPLES = Path(__file__).parents[2] / "examples" / "sign_in"
SECRET = "a-secret-of-thirty-two-bytes-or-more"
# Status, and the JSON of the answer if that is 200.
Post = Callable[[str], tuple[int, Any]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a function that imports an example anew."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("TRIOPOLL_TICKET_SECRETS", SECRET)

    def load(name: str) -> Any:
        for module in (name, "tickets"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        return importlib.import_module(name)

    return load


def check(post: Post) -> None:
    """Without a session there is no ticket, and with one only that of its user."""
    assert post("/ticket")[0] == 401
    assert post("/sign-in/ada")[0] == 200
    status, body = post("/ticket")
    assert status == 200
    ticket = TicketReader([secret_verifier(SECRET)]).read(body["ticket"], time.time())
    assert ticket.subject == "ada"
    assert ticket.grants.allow("user:ada:orders")
    assert not ticket.grants.allow("user:bob:orders")


def test_flask(load: Callable[[str], Any]) -> None:
    """Flask."""
    client = load("flask_app").app.test_client()

    def post(path: str) -> tuple[int, Any]:
        response = client.post(path)
        return response.status_code, response.get_json(silent=True)

    check(post)


@pytest.mark.slow
def test_fastapi() -> None:
    """FastAPI, whose test client needs one more library: so it runs under uvicorn."""
    path = os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])
    environment = {"PYTHONPATH": path, "TRIOPOLL_TICKET_SECRETS": SECRET}
    command = ["uvicorn", "fastapi_app:app", "--port", "PORT"]
    with Process(command, environment) as server:
        check(Browser(f"http://127.0.0.1:{server.port}").send)


def test_django(load: Callable[[str], Any]) -> None:
    """Django."""
    load("django_app")
    from django.test import Client

    client = Client()

    def post(path: str) -> tuple[int, Any]:
        response = client.post(path)
        is_json = response.headers["Content-Type"] == "application/json"
        return response.status_code, response.json() if is_json else None

    check(post)


def test_quart(load: Callable[[str], Any]) -> None:
    """Quart."""
    import asyncio

    client = load("quart_app").app.test_client()

    async def post_once(path: str) -> tuple[int, Any]:
        response = await client.post(path)
        return response.status_code, await response.get_json(silent=True)

    with asyncio.Runner() as runner:
        check(lambda path: runner.run(post_once(path)))
