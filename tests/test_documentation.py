"""The documentation is true: its commands run, its configuration is accepted."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.documents import (
    IS_ALIVE,
    ROOT,
    Block,
    Place,
    all_blocks,
    running,
    split_assignments,
    wait_for_answer,
)
from tests.nginx import find_nginx, nginx_file
from tests.services import RedisServer, find_free_port

from triopoll.settings import settings_from

BLOCKS = all_blocks()
LANGUAGES = {
    "",
    "text",
    "console",
    "js",
    "json",
    "nginx",
    "python",
    "sh",
}
# A program that is not run here, and where it is run, or why it cannot be.
NOT_RUN = {
    "python3": "makes environments; .ci/run does so by the README's second command",
    ".ci/install_programs": "needs root; .ci/run calls it",
    "pip": "installs; .ci/run does so",
    "flask": "serves the backend of a tutorial; tests/examples does so",
    "echo": "writes into the clone",
    "source": "belongs to a shell that goes on",
    "nox": "runs these tests; that its sessions exist is tested",
    "pytest": "runs these tests",
    "pre-commit": "changes the clone",
    "trioslock": "runs a command of the reader's; tests/trioslock/cli does so",
    "slock": "a real slock server, which no package registry has",
}
# The commands of these follow each other, and tests/examples runs them so: in terminals
# (test_locks.py), and on the files of a running service (test_rotate_keys.py).
IN_ORDER = (
    "docs/tutorials/a-lock-across-machines.md",
    "docs/how-to/rotate-keys.md",
)
SERVERS = ("triopoll serve", "python -m trioslock serve", "uvicorn", "granian")
SERVERS += ("hypercorn",)
RUN = ("curl", "redis-cli", "python", "triopoll", "openssl")


def of_language(*languages: str) -> list[Block]:
    found = [
        block
        for block in BLOCKS
        if block.language in languages and block.page not in IN_ORDER
    ]
    assert found
    return found


def program_of(command: str) -> str:
    """The program of a command, without the folder of the environment; "" for none."""
    _, words = split_assignments(command)
    return words[0].removeprefix(".venv/bin/") if words else ""


def is_server(command: str) -> bool:
    _, words = split_assignments(command.replace(".venv/bin/", ""))
    return " ".join(words).startswith(SERVERS)


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[Place]:
    """A service with its embedded slock server, and Redis."""
    folder = tmp_path_factory.mktemp("documentation")
    place = Place(folder, redis_server, slock=find_free_port(), web=find_free_port())
    variables = {
        "TRIOPOLL_SLOCK_URL": f"embedded://127.0.0.1:{place.slock}",
        "TRIOPOLL_REDIS_URL": redis_server.url,
        "TRIOPOLL_TRUSTED_PROXIES": "127.0.0.1",
        "TRIOPOLL_PRESENCE": "user/*",
    }
    command = ["triopoll", "serve", "--bind", f"127.0.0.1:{place.web}"]
    with running(command, variables, folder):
        wait_for_answer(place.web, IS_ALIVE)
        yield place


def test_every_block_says_its_language() -> None:
    """A block in a language that these tests do not know would be unchecked."""
    directive = re.compile(r"\{[\w-]+\}")
    unknown = [
        f"{block}: {block.language}"
        for block in BLOCKS
        if block.language not in LANGUAGES and not directive.fullmatch(block.language)
    ]
    assert unknown == []


@pytest.mark.parametrize("block", of_language("console", "sh"), ids=str)
def test_every_program_is_known(block: Block) -> None:
    """Each command is run below, or a reason is given why it is not."""
    subprocess.run(["bash", "-n", "-c", "\n".join(block.commands())], check=True)
    for command in block.commands():
        program = program_of(command)
        assert not program or program in (*NOT_RUN, *RUN) or is_server(command)


@pytest.mark.long
@pytest.mark.parametrize("block", of_language("console", "sh"), ids=str)
def test_commands_run(block: Block, place: Place) -> None:
    """Commands end without an error, and servers start and end without one.

    What only sets variables of the service is read as the service would read it.
    """
    commands = [line for line in block.commands() if program_of(line) not in NOT_RUN]
    for command in filter(is_server, commands):
        place.serve(command)
    variables = place.run([line for line in commands if not is_server(line)])
    settings_from(variables)


def test_sessions_of_nox_exist() -> None:
    """Pages, workflow and script name sessions that the noxfile has."""
    sessions = nox_sessions()
    files = [*(ROOT / name for name in (".ci/run", ".github/workflows/ci.yml"))]
    files += {ROOT / block.page for block in BLOCKS}
    for file in files:
        for named in re.findall(
            r"\bnox\b[^\n`]*? -s ((?:[a-z]+ ?)+)", file.read_text()
        ):
            assert set(named.split()) <= sessions, file


def nox_sessions() -> set[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(
            ast.unparse(one).startswith("nox.session") for one in node.decorator_list
        )
    }


@pytest.mark.parametrize("block", of_language("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    """What a response or a request looks like can be parsed."""
    json.loads(block.text)


@pytest.mark.parametrize("block", of_language("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    """A snippet compiles, as a part of an asynchronous function."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compile(block.text, str(block), "exec", flags=flags, dont_inherit=True)


def nginx_configuration(block: Block, folder: Path, place: Place, port: int) -> Path:
    """Write a whole configuration around a sample, on ports of this place."""
    text = place.moved(block.text).replace("listen 80;", f"listen 127.0.0.1:{port};")
    text = text.replace("/var/cache/nginx", str(folder))
    if "server {" not in text:
        text = f"server {{ listen 127.0.0.1:{port}; location / {{ {text} }} }}"
    return nginx_file(text, folder)


@pytest.mark.parametrize("block", of_language("nginx"), ids=str)
def test_nginx_accepts_its_configuration(
    block: Block, place: Place, tmp_path: Path
) -> None:
    """nginx knows each directive and accepts it where it stands."""
    file = nginx_configuration(block, tmp_path, place, find_free_port())
    done = subprocess.run(
        [find_nginx(), "-t", "-q", "-c", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
