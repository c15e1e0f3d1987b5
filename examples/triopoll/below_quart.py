"""triopoll below a path, beside another Quart-Trio application.

Run it with ``hypercorn -k trio below_quart:app`` or ``triopoll serve below_quart:app``.
"""

from hypercorn.middleware.dispatcher import TrioDispatcherMiddleware
from quart_trio import QuartTrio

from triopoll import Triopoll

site = QuartTrio(__name__)


@site.get("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "this is the site; triopoll is below /push"}


app = TrioDispatcherMiddleware({"/push": Triopoll(), "": site})
