"""A QR login with Flask: ``flask --app backend_flask run --port 5000``."""

import os
from pathlib import Path

import logins
import publisher
from flask import Flask, request, send_from_directory, session

app = Flask(__name__, static_folder=None)
app.secret_key = os.environ.get("SECRET_KEY", "for this example only")
STATIC = Path(__file__).parent / "static"


@app.get("/")
def login_page():
    return send_from_directory(STATIC, "login.html")


@app.get("/<name>")
def page(name):
    return send_from_directory(STATIC, name)


@app.post("/logins")
def create():
    agent = request.headers.get("User-Agent", "")
    return logins.create(f"{request.host_url}phone.html", request.remote_addr, agent)


@app.post("/logins/<key>/scan")
def scan(key):
    found = logins.scan(key)
    # Only the phone that has scanned the code may approve it.
    session["scanned"] = key
    return found


@app.post("/logins/<key>/approve")
def approve(key):
    if session.get("scanned") != key:
        return {"message": "scan the code first"}, 403
    # In your application: the user that is signed in at the phone.
    logins.approve(key, "ada")
    return {}


@app.post("/logins/<key>/choose")
def choose(key):
    logins.choose(key, request.json["poll_secret"], request.json["choice"])
    return {}


@app.post("/session")
def sign_in():
    user = logins.redeem(request.json["key"], request.json["poll_secret"])
    session["user"] = user
    return {"user": user}


@app.errorhandler(publisher.Refused)
def refused(error):
    return {"message": str(error)}, error.status


@app.errorhandler(PermissionError)
def forbidden(error):
    return {"message": str(error)}, 403
