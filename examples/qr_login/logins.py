"""The steps of a QR login, for any web framework."""

import io
import time

import publisher
import segno

MOVES = {
    "pending": ["scanned"],
    "scanned": ["approved", "rejected"],
    "approved": ["confirmed", "rejected"],
}


# Where each code was made. In your application: a table, with the key as primary key.
# (triopoll knows where its own request came from, and that was this backend.)
ORIGINS = {}


def create(phone_page, address, user_agent):
    """For the computer: a key to wait for, and the code that the phone scans."""
    made = publisher.create(ttl=180, moves=MOVES, match=True)
    ORIGINS[made["key"]] = address, user_agent, time.time()
    svg = io.BytesIO()
    # The key alone: the secret stays at the computer.
    segno.make_qr(f"{phone_page}#{made['key']}").save(svg, kind="svg", scale=6)
    return {
        "key": made["key"],
        "poll_secret": made["poll_secret"],
        "svg": svg.getvalue().decode(),
        "module": publisher.module(),
    }


def scan(key):
    """For the phone: who asks, and the number to choose. Works once for a key."""
    scanned = publisher.put(key, state="scanned")
    address, user_agent, created = ORIGINS.pop(key)
    return {
        "number": scanned["number"],
        "address": address,
        "user_agent": user_agent,
        "age": time.time() - created,
    }


def approve(key, user):
    """For the phone: this user knows the computer."""
    publisher.put(key, state="approved", data={"user": user})


def reject(key):
    publisher.put(key, state="rejected", final=True)


def choose(key, poll_secret, choice):
    """For the computer: the number that the phone shows. There is one try."""
    state = publisher.read(key, poll_secret)
    publisher.put(key, state="confirmed", data=state["data"], choice=choice, final=True)


def redeem(key, poll_secret):
    """For the computer: the user that is signed in. Works once for a key.

    Raises:
        publisher.Refused: The key is unknown, or was redeemed.
        PermissionError: The login was not confirmed.
    """
    state = publisher.read(key, poll_secret)
    if state["state"] != "confirmed":
        raise PermissionError(f"the login is {state['state']}")
    publisher.acknowledge(key, poll_secret, state["version"])
    return state["data"]["user"]
