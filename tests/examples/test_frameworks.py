"""The applications of the how-to pages, each under its own server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.services import find_free_port, wait_for_port
from tests.trioslock.outside import Outside, open_outside

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "examples" / "frameworks"
SERVERS = {
    "fastapi": "-m uvicorn fastapi_app:app --port PORT",
    "fastapi on uvloop": "-m uvicorn fastapi_app:app --loop uvloop --port PORT",
}


@pytest.fixture
def outside() -> Iterator[Outside]:
    with open_outside(None) as opened:
        yield opened


def command_of(name: str, port: int) -> list[str]:
    if name == "aiohttp":
        start = "import aiohttp_app, aiohttp.web; aiohttp.web.run_app("
        start += f"aiohttp_app.make_app(), host='127.0.0.1', port={port})"
        return [sys.executable, "-c", start]
    return [sys.executable, *SERVERS[name].replace("PORT", str(port)).split()]


def post(url: str) -> tuple[int, Any]:
    """Return the status and the document that a POST is answered with."""
    request = urllib.request.Request(url, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize("name", [*SERVERS, "aiohttp"])
def test_an_application(outside: Outside, name: str) -> None:
    port = find_free_port()
    process = subprocess.Popen(
        command_of(name, port),
        cwd=FOLDER,
        env={**os.environ, "TRIOSLOCK_URL": outside.url, "PYTHONPATH": str(FOLDER)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = f"http://127.0.0.1:{port}/orders/7/pay"
        wait_for_port(port, process)
        assert post(url) == (200, {"paid": "7"})
        with outside._observer.lock("order-7"):
            assert post(url)[0] == 409
            outside.until("order-7", 1, 0)
        assert post(url)[0] == 200
        outside.until("order-7", 0, 0)
    finally:
        process.terminate()
        error = process.communicate(timeout=30)[1]
    assert "Traceback" not in error, error
