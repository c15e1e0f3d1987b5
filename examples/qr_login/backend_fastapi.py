"""A QR login with FastAPI: ``uvicorn backend_fastapi:app --port 5000``.

The routes are plain functions: FastAPI runs them in threads, so they may wait for
triopoll. Sessions need ``pip install itsdangerous``.
"""

import os
from pathlib import Path

import logins
import publisher
from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.sessions import SessionMiddleware

STATIC = Path(__file__).parent / "static"
app = FastAPI()
app.add_middleware(
    SessionMiddleware,
    secret_key=os.environ.get("SECRET_KEY", "for this example only"),
)


@app.get("/")
def login_page():
    return FileResponse(STATIC / "login.html")


@app.post("/logins")
def create(request: Request):
    agent = request.headers.get("user-agent", "")
    return logins.create(f"{request.base_url}phone.html", request.client.host, agent)


@app.post("/logins/{key}/scan")
def scan(key: str, request: Request):
    found = logins.scan(key)
    # Only the phone that has scanned the code may approve it.
    request.session["scanned"] = key
    return found


@app.post("/logins/{key}/approve")
def approve(key: str, request: Request):
    if request.session.get("scanned") != key:
        raise HTTPException(403, "scan the code first")
    # In your application: the user that is signed in at the phone.
    logins.approve(key, "ada")
    return {}


@app.post("/logins/{key}/choose")
def choose(key: str, poll_secret: str = Body(), choice: int = Body()):
    logins.choose(key, poll_secret, choice)
    return {}


@app.post("/session")
def sign_in(request: Request, key: str = Body(), poll_secret: str = Body()):
    user = logins.redeem(key, poll_secret)
    request.session["user"] = user
    return {"user": user}


@app.exception_handler(publisher.Refused)
def refused(_, error):
    return JSONResponse({"message": str(error)}, error.status)


@app.exception_handler(PermissionError)
def forbidden(_, error):
    return JSONResponse({"message": str(error)}, 403)


app.mount("/", StaticFiles(directory=STATIC))
