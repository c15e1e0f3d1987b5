"""Session cookie to ticket with Quart."""

from quart import Quart, abort, session
from tickets import ticket_for

app = Quart(__name__)
app.secret_key = "for this example only"


@app.post("/sign-in/<user>")
async def sign_in(user):
    session["user"] = user  # in your application: after a password or a passkey
    return {}


@app.post("/ticket")
async def ticket():
    if "user" not in session:
        abort(401)
    return {"ticket": ticket_for(session["user"])}
