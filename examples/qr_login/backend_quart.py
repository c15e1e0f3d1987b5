"""A QR login with Quart-Trio: ``hypercorn -k trio backend_quart:app --bind :5000``."""

import os
from pathlib import Path

import logins
import publisher
import trio
from quart import request, send_from_directory, session
from quart_trio import QuartTrio

app = QuartTrio(__name__, static_folder=None)
app.secret_key = os.environ.get("SECRET_KEY", "for this example only")
STATIC = Path(__file__).parent / "static"
# The publisher blocks, so it runs in threads.
in_thread = trio.to_thread.run_sync


@app.get("/")
async def login_page():
    return await send_from_directory(STATIC, "login.html")


@app.get("/<name>")
async def page(name):
    return await send_from_directory(STATIC, name)


@app.post("/logins")
async def create():
    agent = request.headers.get("User-Agent", "")
    phone_page = f"{request.host_url}phone.html"
    return await in_thread(logins.create, phone_page, request.remote_addr, agent)


@app.post("/logins/<key>/scan")
async def scan(key):
    found = await in_thread(logins.scan, key)
    # Only the phone that has scanned the code may approve it.
    session["scanned"] = key
    return found


@app.post("/logins/<key>/approve")
async def approve(key):
    if session.get("scanned") != key:
        return {"message": "scan the code first"}, 403
    # In your application: the user that is signed in at the phone.
    await in_thread(logins.approve, key, "ada")
    return {}


@app.post("/logins/<key>/choose")
async def choose(key):
    body = await request.get_json()
    await in_thread(logins.choose, key, body["poll_secret"], body["choice"])
    return {}


@app.post("/session")
async def sign_in():
    body = await request.get_json()
    user = await in_thread(logins.redeem, body["key"], body["poll_secret"])
    session["user"] = user
    return {"user": user}


@app.errorhandler(publisher.Refused)
async def refused(error):
    return {"message": str(error)}, error.status


@app.errorhandler(PermissionError)
async def forbidden(error):
    return {"message": str(error)}, 403
