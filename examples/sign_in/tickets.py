"""The ticket of a signed-in user, for any web framework."""

import os
import time

import jwt

SECRET = os.environ["TRIOPOLL_TICKET_SECRETS"].split()[0]


def ticket_for(user):
    """Allow the keys of one user, for a few minutes."""
    claims = {"exp": int(time.time()) + 300, "sub": user, "keys": [f"user:{user}:*"]}
    return jwt.encode(claims, SECRET, algorithm="HS256")
