"""Requests of publishers, repeated until they are answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from triopoll.client import _requests as module
from triopoll.client._credentials import Credential
from triopoll.client._errors import Refused, ServerBusy, Unreachable
from triopoll.client._http import Site


def requests(monkeypatch: pytest.MonkeyPatch, results: Iterator[Any]) -> Any:
    """A connection whose responses are given; an error is raised."""
    site = (
        Site.of("http://127.0.0.1:1") if hasattr(Site, "of") else Site("127.0.0.1", 1)
    )
    made = module.RepeatingConnection(site, Credential(None), "testing")

    async def send(*_: Any) -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        result = next(results)
        if isinstance(result, Exception):
            raise result
        shape: Mapping[str, Any] = result
        return shape

    monkeypatch.setattr(made, "_send", send)
    return made


async def test_what_may_pass_is_repeated(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result of the first response that can be used is returned."""
    results = iter([ServerBusy("busy", 0.0), ServerBusy("busy", 0.0), {"n": 1}])
    made = requests(monkeypatch, results)
    assert await made.request("POST", "/x", b"{}", lambda shape: shape["n"]) == 1


async def test_what_is_refused_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised at once."""
    made = requests(monkeypatch, iter([Refused(403, "forbidden", "no")]))
    with pytest.raises(Refused):
        await made.request("POST", "/x", b"{}", dict)


async def test_it_gives_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 300 s: the server would store a later repetition again."""
    made = requests(monkeypatch, iter(lambda: ServerBusy("busy", 0.0), None))
    with pytest.raises(Unreachable, match="busy"):
        await made.request("POST", "/x", b"{}", dict)
    assert 200 < trio.current_time() <= 300
