"""The browser client is served for ever at its version, to pages of any origin."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.triopoll.asgi_calls import Call, serving
from tests.triopoll.service import (
    SERVERS,
    Process,
    Response,
    poll_process,
    requesting,
)

from triopoll.api import javascript
from triopoll.api.javascript import module_path, module_source
from triopoll.app import Triopoll
from triopoll.settings import Settings

ROOT = Path(__file__).parent.parent.parent.parent
PATH = f"/js/{version('trioslock')}/triopoll.js"
PAGE = "https://app.example"


@pytest.fixture
async def app(free_port: int) -> AsyncIterator[Triopoll]:
    settings = Settings(
        slock_url=f"embedded://127.0.0.1:{free_port}", cors_origins=PAGE
    )
    async with serving(Triopoll(settings)) as app:
        yield app


async def answer(app: Triopoll, target: str = PATH, **more: object) -> Call:
    call = Call(target, **more)  # type: ignore[arg-type]
    await call.run(app)
    return call


def etag_of(call: Call) -> bytes:
    return dict(call.headers)[b"etag"]


async def test_it_is_the_source_and_may_be_kept_for_ever(app: Triopoll) -> None:
    """With the type that browsers ask of a module."""
    call = await answer(app)
    headers = dict(call.headers)
    assert call.status == 200
    assert call.body == (ROOT / "js" / "triopoll.js").read_bytes()
    assert headers[b"content-type"] == b"text/javascript; charset=utf-8"
    assert headers[b"cache-control"] == b"public, max-age=31536000, immutable"
    assert headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("origin", [PAGE, "https://unlisted.example", "null"])
async def test_pages_of_all_origins_may_import_it(app: Triopoll, origin: str) -> None:
    """Listed or not; the header is there once, or browsers refuse it."""
    call = await answer(app, headers=[(b"origin", origin.encode())])
    headers = call.headers
    allowed = [value for name, value in headers if name.endswith(b"allow-origin")]
    assert allowed == [b"*"]
    # Browsers refuse the two together.
    assert not any(name.endswith(b"allow-credentials") for name, _ in headers)


@pytest.mark.parametrize("form", [b"%b", b"W/%b", b'"other", %b', b"*"])
async def test_a_client_that_has_it_gets_304(app: Triopoll, form: bytes) -> None:
    """Without a body, and without the length of one."""
    etag = etag_of(await answer(app))
    given = form % etag if b"%" in form else form
    call = await answer(app, headers=[(b"if-none-match", given)])
    headers = dict(call.headers)
    assert (call.status, call.body) == (304, b"")
    assert headers[b"etag"] == etag
    assert b"cache-control" in headers
    assert b"content-length" not in headers


async def test_a_client_that_has_another_gets_it(app: Triopoll) -> None:
    """An entity tag of another source does not count."""
    call = await answer(app, headers=[(b"if-none-match", b'"other"')])
    assert call.status == 200


async def test_it_is_served_below_a_path(app: Triopoll) -> None:
    """Where the application is mounted."""
    call = await answer(app, f"/push{PATH}", root_path="/push")
    assert call.status == 200


async def test_other_versions_and_methods_are_refused(app: Triopoll) -> None:
    """And no cache may keep that for ever."""
    other = await answer(app, "/js/0.0.0/triopoll.js")
    assert other.status == 404
    assert b"immutable" not in dict(other.headers).get(b"cache-control", b"")
    assert (await answer(app, method="POST")).status == 405


def test_an_installation_without_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the places that were looked at."""
    monkeypatch.setattr(javascript, "_PLACES", (Path("/nowhere/triopoll.js"),))
    module_source.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"/nowhere/triopoll\.js"):
        module_source()
    module_source.cache_clear()


def test_the_package_has_the_version_of_the_service() -> None:
    """So that the path, the npm package and the documentation agree."""
    for name in ("package.json", "package-lock.json"):
        manifest = json.loads((ROOT / "js" / name).read_text())
        assert manifest["version"] == version("trioslock"), name
    assert module_path() == PATH
    for name in ("js/README.md", "docs/how-to/use-triopoll-js.md"):
        assert PATH in (ROOT / name).read_text(), name


@pytest.fixture(scope="module", params=SERVERS)
def service(request: pytest.FixtureRequest) -> Iterator[Process]:
    with poll_process(server=request.param) as it:
        yield it


async def fetch(service: Process, **more: object) -> Response:
    async with requesting(service.port, PATH, **more) as request:  # type: ignore[arg-type]
        return await request.answer()


async def test_each_server_sends_it_whole(service: Process) -> None:
    """And for HEAD the same head without the body."""
    whole, head = await fetch(service), await fetch(service, method="HEAD")
    assert whole.body == module_source()
    assert whole.headers["content-length"] == str(len(whole.body))
    assert (head.status, head.body) == (200, b"")
    kept = ("content-type", "content-length", "cache-control", "etag")
    assert [head.headers[n] for n in kept] == [whole.headers[n] for n in kept]
