"""The image: what its file says, and what its commands do where there is no engine.

`nox -s lint` runs hadolint on it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.deploy.samples import DEPLOY, IMAGE, ROOT, VERSION
from tests.documents import IS_ALIVE, environment, running, wait_for_answer
from tests.services import find_free_port, find_tool

from triopoll import __main__ as program
from triopoll.testing import TriopollServer

FILE = DEPLOY / "Containerfile"
CONSTRAINTS = dict(
    line.split("==")
    for line in (DEPLOY / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
)


def read_stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, as word and rest."""
    stages: list[list[tuple[str, str]]] = [[]]
    for line in FILE.read_text().replace("\\\n", "").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        if word and word != "#":
            stages[-1].append((word, rest.strip()))
    return stages


ARGUMENTS, BUILD, FINAL = read_stages()


def only(word: str, stage: list[tuple[str, str]] = FINAL) -> str:
    (rest,) = [rest for each, rest in stage if each == word]
    return rest


def served_by_default() -> list[str]:
    """Return the arguments of triopoll in a container without any."""
    assert json.loads(only("ENTRYPOINT")) == ["triopoll"]
    return [str(word) for word in json.loads(only("CMD"))]


def test_the_user_has_a_number_and_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", only("USER"))


def test_the_container_stops_by_the_signal_that_drains() -> None:
    assert only("STOPSIGNAL") == "SIGTERM"


def test_versions_are_arguments() -> None:
    """Both stages begin with the same image, whose version can be chosen."""
    names = [rest.partition("=")[0] for word, rest in ARGUMENTS if word == "ARG"]
    assert names == ["PYTHON_VERSION", "DEBIAN_RELEASE"]
    assert only("FROM", BUILD) == f"{only('FROM')} AS build"
    assert all(f"${{{name}}}" in only("FROM") for name in names)


def test_its_python_is_one_that_is_tested() -> None:
    versions = dict(rest.split("=") for word, rest in ARGUMENTS if word == "ARG")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = f"Programming Language :: Python :: {versions['PYTHON_VERSION']}"
    assert wanted in project["classifiers"]


def test_what_is_copied_exists() -> None:
    for rest in [rest for word, rest in BUILD if word == "COPY"]:
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists(), source


def test_the_container_listens_where_its_port_is() -> None:
    options = program._parser().parse_args(served_by_default())
    assert options.bind == [f"0.0.0.0:{only('EXPOSE')}"]


def test_the_command_of_the_comment_names_this_version() -> None:
    assert f"-t {IMAGE} ." in FILE.read_text()


def test_constraints_are_versions_that_the_project_accepts() -> None:
    """Each direct dependency is in them, within its bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["poll"]]
    for requirement in map(Requirement, direct):
        assert requirement.specifier.contains(CONSTRAINTS[requirement.name])


def health_check(port: int) -> int:
    options, _, command = only("HEALTHCHECK").partition(" CMD ")
    assert "--timeout=5s" in options
    words = [str(word).replace("8000", str(port)) for word in json.loads(command)]
    assert words[0] == "python"
    done = subprocess.run(
        [sys.executable, *words[1:]], check=False, capture_output=True
    )
    return done.returncode


@pytest.mark.slow
def test_the_health_check_tells_a_service_from_none(
    triopoll_server: TriopollServer,
) -> None:
    assert health_check(triopoll_server.port) == 0
    assert health_check(find_free_port()) == 1


def find_namespaces() -> None:
    """Skip where the machine does not allow what a container is made of."""
    command = [find_tool("bwrap"), "--unshare-user", "--unshare-pid", "--ro-bind"]
    done = subprocess.run(
        [*command, "/", "/", "true"], check=False, stderr=subprocess.PIPE
    )
    if done.returncode:
        pytest.skip(f"no namespaces on this machine: {done.stderr.decode()}")


def serve_contained(tmp_path: Path, *more: str, mounts: Sequence[str] = ()) -> None:
    """Serve as the image's user, with a root that is read-only."""
    user, group = only("USER").split(":")
    port = find_free_port()
    bind = ["--bind", f"127.0.0.1:{port}", "--drain-delay", "0"]
    words = [
        *("bwrap", "--unshare-user", "--uid", user, "--gid", group),
        *("--unshare-pid", "--die-with-parent"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", *mounts),
        *("env", "-u", "COVERAGE_PROCESS_CONFIG", "-u", "TMPDIR"),
        *("triopoll", served_by_default()[0], *bind, *more),
    ]
    find_namespaces()
    with running(words, {}, tmp_path):
        wait_for_answer(port, IS_ALIVE)


@pytest.mark.slow
def test_one_worker_writes_no_file(tmp_path: Path) -> None:
    """Not even below /tmp, which is read-only too."""
    serve_contained(tmp_path)


@pytest.mark.long
def test_workers_need_nothing_but_tmp(tmp_path: Path) -> None:
    slock = f"slock://127.0.0.1:{find_free_port()}"
    redis = f"redis://127.0.0.1:{find_free_port()}"
    variables = ["--setenv", "TRIOPOLL_SLOCK_URL", slock]
    variables += ["--setenv", "TRIOPOLL_REDIS_URL", redis]
    # The clone and its environment may be below /tmp.
    binds = [
        word for path in (str(ROOT), sys.prefix) for word in ("--ro-bind", path, path)
    ]
    mounts = ["--tmpfs", "/tmp", *binds, *variables]
    serve_contained(tmp_path, "--workers", "2", mounts=mounts)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_image_can_be_built(tmp_path: Path) -> None:
    """Its commands run in a folder with nothing but what it copies."""
    home, folder = tmp_path / "opt", tmp_path / "build"
    for rest in [rest for word, rest in BUILD if word == "COPY"]:
        *sources, target = rest.split()
        for source in sources:
            copy(ROOT / source, folder / target)
    script = only("RUN", BUILD)
    for old, new in (
        # Debian's Python makes an environment with pip only where python3-venv is.
        ("python -m venv ", f"{sys.executable} -m venv --without-pip "),
        ("/opt/triopoll/bin/pip ", f"{sys.executable} -m pip --python {home} "),
        ("/opt/triopoll", str(home)),
    ):
        assert old in script
        script = script.replace(old, new)
    subprocess.run(["sh", "-euc", script], cwd=folder, check=True)
    assert output(home / "bin" / "triopoll", "--version") == f"triopoll {VERSION}\n"
    found = output(
        sys.executable, "-m", "pip", "--python", home, "list", "--format=json"
    )
    installed = {
        canonicalize_name(one["name"]): one["version"] for one in json.loads(found)
    }
    assert installed.pop("trioslock") == VERSION
    assert installed == CONSTRAINTS


def copy(source: Path, target: Path) -> None:
    """Copy as COPY does: a file into a folder, of a folder what is in it."""
    target.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def output(*words: Path | str) -> str:
    done = subprocess.run(
        words, check=True, capture_output=True, text=True, env=environment()
    )
    return done.stdout
