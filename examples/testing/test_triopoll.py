"""An application that publishes through triopoll and waits for messages."""

import httpx
import pytest
from fastapi import FastAPI


def backend(push_url, api_key):
    app = FastAPI()

    @app.post("/orders/{order}/pay")
    async def pay(order: int):
        message = {"key": f"orders.{order}", "data": "paid", "id": f"paid-{order}"}
        headers = {"Authorization": f"Bearer {api_key}"}
        async with httpx.AsyncClient(base_url=push_url, headers=headers) as push:
            (await push.post("/v1/publish", json=message)).raise_for_status()
        return {"order": order}

    return app


@pytest.mark.asyncio
async def test_a_payment_is_published_once(triopoll_server):
    app = backend(triopoll_server.url, triopoll_server.api_key)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as shop:
        for _ in range(2):
            assert (await shop.post("/orders/17/pay")).status_code == 200
    assert triopoll_server.messages("orders.17") == ["paid"]


@pytest.mark.anyio
async def test_a_message_ends_a_poll(triopoll_server):
    query = {"key": "orders.17", "cursor": "all"}
    async with httpx.AsyncClient(base_url=triopoll_server.url) as visitor:
        triopoll_server.publish("orders.17", {"state": "paid"})
        page = (await visitor.get("/v1/messages", params=query)).json()
    assert [message["data"] for message in page["messages"]] == [{"state": "paid"}]


@pytest.mark.triopoll(max_message_bytes=10)
def test_a_message_that_is_too_long_is_refused(triopoll_server):
    with pytest.raises(AssertionError, match="data is longer than 10 bytes"):
        triopoll_server.publish("orders.17", "x" * 11)
