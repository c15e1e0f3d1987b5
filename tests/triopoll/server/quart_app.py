"""The application with a Quart route of a user's own, for servers in processes."""

from __future__ import annotations

from tests.services import find_free_port

from triopoll import Triopoll
from triopoll.settings import Settings

app = Triopoll(Settings(slock_url=f"embedded://127.0.0.1:{find_free_port()}"))


@app.route("/hello")
async def hello() -> str:
    return "hello"
