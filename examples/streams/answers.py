"""Answers of a model that survive a reload: ``uvicorn answers:app --port 5000``.

The tokens go to a stream of triopoll, and the page reads them from there: it may leave
and come back at any token, and so may other pages. The model is a poem here.
"""

import os
import time
import uuid
from pathlib import Path

import streams
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"
PAUSE = float(os.environ.get("TOKEN_SECONDS", "0.1"))
POEM = """\
Tyger Tyger, burning bright,
In the forests of the night;
What immortal hand or eye,
Could frame thy fearful symmetry?

In what distant deeps or skies
Burnt the fire of thine eyes?
On what wings dare he aspire?
What the hand, dare seize the fire?
"""

app = FastAPI()


def tokens():
    """Yield the tokens as a model does: some time after one another."""
    for word in POEM.split(" "):
        time.sleep(PAUSE)
        yield f"{word} "


def write(writer):
    for token in tokens():
        writer.append(token)
    writer.close()


@app.get("/")
def page():
    return FileResponse(STATIC / "answer.html")


# The routes are plain functions: FastAPI runs them, and what they leave to the
# background, in threads. So they may wait for triopoll.
@app.post("/answers")
def ask(background: BackgroundTasks):
    name = uuid.uuid4().hex
    background.add_task(write, streams.Writer(f"answers/{name}"))
    return {"id": name}


@app.get("/answers/{name}")
def where(name: str):
    # In your application: only for the user who has asked.
    return {"stream": streams.address(f"answers/{name}")}


app.mount("/", StaticFiles(directory=STATIC))
