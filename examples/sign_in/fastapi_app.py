"""Session cookie to ticket with FastAPI."""

from fastapi import FastAPI, HTTPException, Request
from starlette.middleware.sessions import SessionMiddleware
from tickets import ticket_for

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key="for this example only")


@app.post("/sign-in/{user}")
def sign_in(user: str, request: Request):
    request.session["user"] = user  # in your application: after a password or a passkey
    return {}


@app.post("/ticket")
def ticket(request: Request):
    if "user" not in request.session:
        raise HTTPException(401)
    return {"ticket": ticket_for(request.session["user"])}
