"""Scripts are sent by their digest, and in full where Redis does not know them."""

import hashlib

import pytest
from tests.services import RedisServer

from triopoll.store import open_stores
from triopoll.store._scripts import Script, milliseconds


def test_a_script_makes_commands() -> None:
    """EVALSHA with the digest, the number of keys, the keys and the arguments."""
    source = "return 1"
    script = Script("one", source)
    digest = hashlib.sha1(source.encode()).hexdigest()
    assert script(["a", "b"], 3, b"x", "y") == (
        *("EVALSHA", digest, "2", "a", "b", "3", b"x", "y"),
    )


@pytest.mark.slow
async def test_scripts_that_redis_has_forgotten(redis_server: RedisServer) -> None:
    """They are sent again, and the command is executed once."""
    import redis

    with redis.Redis(port=redis_server.port) as admin:
        async with open_stores(redis_server.url, limit=5) as stores:
            for data in (b"1", b"2"):
                admin.script_flush()
                await stores.lists.push("forgotten", data)
                delivery = await stores.lists.pop("forgotten")
                assert delivery is not None
                assert delivery.data == data
                stores.lists.ack(delivery)


@pytest.mark.parametrize(("seconds", "expected"), [(1.5, 1500), (0.0, 1), (0.0001, 1)])
def test_milliseconds(seconds: float, expected: int) -> None:
    """Redis refuses a time of zero."""
    assert milliseconds(seconds) == expected
