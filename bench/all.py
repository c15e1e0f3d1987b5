"""Run the benchmarks of performance and sizing pages, and write their results there.

    python bench/all.py --slock-binary PATH [--go GOPATH] [--lua DIRECTORY]
        [--only peers,client,growth]

Each bench runs with the command that its page shows beside its results, on a slock
server that is started here. What it prints, its tables and its figures go to
``bench/results.json``; then ``plot.py`` draws the figures, and the pages get the
tables. A bench that is not run keeps its earlier results: so do those that need Go or
nginx with Lua, if these are not given. ``--only none`` runs nothing, and writes pages
and plots from the stored results.

In a page, the results of a bench stand between ``<!-- bench: NAME -->`` and
``<!-- end -->``: its tables if it hands them to ``results.py``, else what it printed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import plot
from parked import running
from poll import HOST, free_port

BENCH = Path(__file__).parent
RESULTS = BENCH / "results.json"
DOCS = BENCH.parent / "docs"
PAGES = [DOCS / "explanation/performance.md", DOCS / "how-to/size-a-deployment.md"]

# Words in capitals are replaced by options; a bench whose options are not given is left
# out.
COMMANDS = {
    "peers": ["peers.py --slock HOST:PORT --results RESULTS"],
    "openresty": ["openresty.py --slock HOST:PORT --lua DIRECTORY --results RESULTS"],
    "asgi_servers": ["asgi_servers.py --slock HOST:PORT"],
    "poll": ["poll.py --results RESULTS"],
    "fanout": [
        "fanout.py --slock HOST:PORT",
        "fanout.py --slock HOST:PORT --messages",
    ],
    "hostile": ["hostile.py"],
    "states": ["states.py --rate 60"],
    "streams": ["streams.py --slock-binary PATH --results RESULTS"],
    "client": ["client.py --slock HOST:PORT --go GOPATH --rounds 9 --results RESULTS"],
    "growth": ["growth.py --slock-binary PATH --results RESULTS"],
    "parked": ["parked.py --slock-binary PATH --polls 9000 --results RESULTS"],
    "workers": ["workers.py --slock HOST:PORT"],
}
PLACE = re.compile(r"(<!-- bench: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description="Regenerate the figures.")
    add = parser.add_argument
    add("--slock-binary", metavar="PATH", required=True)
    add("--go", metavar="GOPATH", help="as for client.py")
    add("--lua", metavar="DIRECTORY", help="as for openresty.py")
    add("--only", metavar="NAMES", default=",".join(COMMANDS))
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name != "none"]
    if unknown := set(names) - set(COMMANDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; {', '.join(COMMANDS)}")
    with slock(options.slock_binary) as address:
        words = {"HOST:PORT": address, "RESULTS": str(RESULTS), "GOPATH": options.go}
        words |= {"DIRECTORY": options.lua, "PATH": options.slock_binary}
        for name in names:
            run(name, words)
    plot.main()
    write_pages()


@contextmanager
def slock(binary: str) -> Iterator[str]:
    """Run a slock server; yield its address."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, f"--bind={HOST}", f"--port={port}", f"--data_dir={folder}"]
        command += [f"--log={folder}/log", "--log_level=ERROR"]
        with running(command, port):
            yield f"{HOST}:{port}"


def run(name: str, words: dict[str, str | None]) -> None:
    """Run the commands of one bench, and keep what they print."""
    output = ""
    for command in COMMANDS[name]:
        values = [words.get(word, word) for word in command.split()]
        if None in values:
            print(f"{name}: left out, an option is not given", flush=True)
            return
        shown_as = f"$ python bench/{command.removesuffix(' --results RESULTS')}\n"
        print(shown_as, end="", flush=True)
        output += shown_as + printed_by([str(value) for value in values])
    stored = json.loads(RESULTS.read_text())
    stored["benches"].setdefault(name, {})["output"] = output.rstrip()
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


def printed_by(words: list[str]) -> str:
    """Run a program of this directory; return what it prints."""
    program, *arguments = words
    command = [sys.executable, str(BENCH / program), *arguments]
    output = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            output += line
    if process.returncode:
        raise SystemExit(f"{program} has failed; its earlier results are kept")
    return output


def write_pages() -> None:
    """Put the stored results into their places in the pages."""
    benches = json.loads(RESULTS.read_text())["benches"]

    def results_of(place: re.Match[str]) -> str:
        head, name, end = place.groups()
        bench = benches.get(name)
        # Without an output it has not been run by this program: its table stays.
        if bench is None or not ("output" in bench or bench.get("tables")):
            return place[0]
        return f"{head}\n{shown(bench)}\n\n{end}"

    for page in PAGES:
        page.write_text(PLACE.sub(results_of, page.read_text()))


def shown(bench: dict[str, Any]) -> str:
    """Return the tables and notes of a bench in Markdown, or else what it printed."""
    parts = [table_of(each) for each in bench.get("tables", {}).values()]
    parts += bench.get("notes", {}).values()
    return "\n\n".join(parts) if parts else f"```text\n{bench['output']}\n```"


def table_of(table: dict[str, Any]) -> str:
    rows = [table["head"], ["---"] * len(table["head"]), *table["rows"]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
