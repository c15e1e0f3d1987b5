"""A client of the poll service, on trio: every message of a key, in order, once.

::

    async with open_poll_client("https://push.example.com", ticket=ticket) as client:
        async with client.subscribe("orders") as messages:
            async for message in messages:
                print(message.text)

It polls, and falls back to a websocket where polls are cut; both go by the same cursor,
so nothing is lost or repeated in between. It needs h11 and trio-websocket, and nothing
of the server.
"""

from __future__ import annotations

# General layout: what is opened, what is iterated over, what is published, what fails.
from ._client import PollClient as PollClient
from ._client import open_poll_client as open_poll_client
from ._credentials import Secret as Secret
from ._errors import MessagesLost as MessagesLost
from ._errors import PollClientError as PollClientError
from ._errors import Refused as Refused
from ._errors import Unreachable as Unreachable
from ._publishing import Draft as Draft
from ._publishing import Published as Published
from ._subscription import Subscription as Subscription
from ._wire import Gap as Gap
from ._wire import Message as Message

__all__ = [
    "Draft",
    "Gap",
    "Message",
    "MessagesLost",
    "PollClient",
    "PollClientError",
    "Published",
    "Refused",
    "Secret",
    "Subscription",
    "Unreachable",
    "open_poll_client",
]
