"""Session cookie to ticket with Flask."""

from flask import Flask, abort, session
from tickets import ticket_for

app = Flask(__name__)
app.secret_key = "for this example only"


@app.post("/sign-in/<user>")
def sign_in(user):
    session["user"] = user  # in your application: after a password or a passkey
    return {}


@app.post("/ticket")
def ticket():
    if "user" not in session:
        abort(401)
    return {"ticket": ticket_for(session["user"])}
