"""triopoll with a route and a blueprint of your own.

Run it with ``hypercorn -k trio own_routes:app`` (or uvicorn, granian, ``triopoll serve
own_routes:app``), open http://127.0.0.1:8000/orders/17, and publish:

    curl http://127.0.0.1:8000/v1/publish -d '{"key":"orders.17","data":"paid"}'
"""

from quart import Blueprint
from quart.typing import ResponseReturnValue

from triopoll import Triopoll

app = Triopoll()
orders = Blueprint("orders", __name__, url_prefix="/orders")

PAGE = """<!doctype html>
<title>Order {number}</title>
<p>Order {number}: <output id="state">waiting</output></p>
<script type="module">
  let cursor = "all";
  while (true) {{
    const answer = await fetch(`/v1/messages?key=orders.{number}&cursor=${{cursor}}`);
    if (!answer.ok) break;
    const page = await answer.json();
    cursor = page.cursor;
    for (const message of page.messages) state.textContent = message.data;
  }}
</script>
"""


@app.get("/hello")
async def hello() -> ResponseReturnValue:
    return {"hello": "this is a route of your own"}


@orders.get("/<int:number>")
async def show_order(number: int) -> ResponseReturnValue:
    return PAGE.format(number=number)


app.register_blueprint(orders)
