"""A client of the poll service, on trio: every message of a key, in order, once.

::

    async with open_poll_client("https://push.example.com", ticket=ticket) as client:
        async with client.subscribe("orders") as messages:
            async for message in messages:
                print(message.text)

It polls, and uses a websocket where polls are cut. Both continue from the same cursor,
so no message is lost or repeated when the transport changes. It needs h11 and
trio-websocket, and nothing of the server.
"""

from __future__ import annotations

# General layout: the client, its errors, presence, publishing, states,
# subscriptions, items.
from ._client import PollClient as PollClient
from ._client import open_poll_client as open_poll_client
from ._credentials import Secret as Secret
from ._errors import MessagesLost as MessagesLost
from ._errors import PollClientError as PollClientError
from ._errors import Refused as Refused
from ._errors import Unreachable as Unreachable
from ._presence import Presence as Presence
from ._publishing import Draft as Draft
from ._publishing import Json as Json
from ._publishing import Published as Published
from ._responses import Gap as Gap
from ._responses import Message as Message
from ._states import ChangedState as ChangedState
from ._states import CreatedState as CreatedState
from ._states import State as State
from ._states import StateOrigin as StateOrigin
from ._states import StateWatch as StateWatch
from ._subscription import Subscription as Subscription

__all__ = [
    "ChangedState",
    "CreatedState",
    "Draft",
    "Gap",
    "Json",
    "Message",
    "MessagesLost",
    "PollClient",
    "PollClientError",
    "Presence",
    "Published",
    "Refused",
    "Secret",
    "State",
    "StateOrigin",
    "StateWatch",
    "Subscription",
    "Unreachable",
    "open_poll_client",
]
