"""The steps of this project. Each also runs with ``--no-venv`` where all is installed.

``nox -s lint types layers tests long docs build``; ``nox -s tests -P PYTHON`` for
another interpreter; ``nox -s lowest`` for the oldest versions that the project
supports; ``nox -s live -- --slock HOST:PORT``.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nox
import nox.command
from nox.virtualenv import PassthroughEnv

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "layers", "tests", "long", "docs", "build"]
nox.options.reuse_existing_virtualenvs = True

# ruff's ASYNC rules are a part of flake8-async; these are the rest and the optional
# ones, written out in full so that a new release does not change what is checked.
ASYNC_RULES = ",".join(
    f"ASYNC{number}"
    for number in (
        *(100, 101, 102, 103, 104, 105, 106, 109, 110, 111, 112, 113, 114, 115, 116),
        *(118, 119, 120, 121, 122, 123, 125, 126, 127, 128),
        *(200, 210, 211, 212, 220, 221, 222, 230, 231, 232, 240, 250, 251),
        *(400, 401),
    )
)
# Functions of ours that are made for ``nursery.start``.
STARTABLE = "run,accept,_serve,_hold_open,_run,call_at_reloads"
CHECKPOINT_RULES = "ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913"

TESTS = (
    "ASYNC102,ASYNC103,ASYNC106,ASYNC110,ASYNC111,ASYNC113,ASYNC123,ASYNC128,ASYNC401"
)

# What these rules cannot see, and where. A file that is not here is checked in full; of
# several entries that match a file, flake8 takes the longest.
ASYNC_EXCEPTIONS = {
    # A test may poll, leave a cleanup to its own time limit, and take groups apart.
    "tests/*": TESTS,
    # Async generators that are left in the middle, and calls that are to fail.
    "tests/trioslock/test_other_task.py": f"{TESTS},ASYNC114,ASYNC119",
    "tests/triopoll/client/test_other_task.py": f"{TESTS},ASYNC114,ASYNC119",
    "tests/trioslock/test_wrong_arguments.py": f"{TESTS},ASYNC104",
    # The clients that they show use httpx.
    "examples/streams/follow.py": "ASYNC127",
    "examples/testing/test_triopoll.py": "ASYNC127",
    # Announces itself when the application has started, in another method.
    "src/triopoll/server/lifespan.py": "ASYNC128",
    # Its way out is shielded where it is awaited, and waits for no answer.
    "src/triopoll/client/_subscription.py": "ASYNC102",
    # Carries errors and cancellations from one event loop to the other, so it has to
    # catch what it cannot raise where it is.
    "src/triopoll/asgi/asyncio_bridge.py": "ASYNC102,ASYNC103",
    # A cancellation of asyncio comes once. It is held back or taken back here, and no
    # shield is needed: see the heads of these modules.
    "src/trioslock/aio/__init__.py": "ASYNC106",
    "src/trioslock/aio/_base.py": "ASYNC102,ASYNC103",
    "src/trioslock/aio/_body.py": "ASYNC103,ASYNC910",
    "src/trioslock/aio/_opening.py": "ASYNC102,ASYNC910",
    "src/trioslock/aio/_portal.py": "ASYNC102,ASYNC103,ASYNC910",
    "src/trioslock/aio/recipes.py": "ASYNC910",
    # An async generator that another task is to close.
    "tests/trioslock/aio/test_base.py": f"{TESTS},ASYNC119",
    # A body that swallows its cancellation.
    "tests/trioslock/aio/test_body.py": f"{TESTS},ASYNC104",
    # aiohttp closes the generators of an application by itself.
    "examples/frameworks/aiohttp_app.py": "ASYNC119",
    # What needs nobody to wait for its start: it has nothing to announce.
    "src/triopoll/services.py": "ASYNC113",
    # Ends its turn inside a shield with a limit.
    "src/triopoll/core/group_messages.py": "ASYNC102",
    # Takes back what it has begun, inside a shield with a limit.
    "src/triopoll/store/_stream_forks.py": "ASYNC102",
    # What it holds waits on entering, also where that fails.
    "src/trioslock/cli/_held.py": "ASYNC910",
    # What they await on the way out is shielded, with a limit, inside itself:
    # Service.stop(), Requester.release() and what stands on it.
    "src/trioslock/client/_client.py": "ASYNC102",
    "src/trioslock/client/_service.py": "ASYNC102",
    "src/trioslock/client/_subscribe.py": "ASYNC102,ASYNC910",
    "src/trioslock/embedded.py": "ASYNC102,ASYNC910,ASYNC913",
    "src/trioslock/primitives/_acquirable.py": "ASYNC102,ASYNC910",
    "src/trioslock/primitives/_fencing.py": "ASYNC102",
    # An error of a release is kept, so that it never replaces that of the body;
    # and where nothing is left to release, nothing is awaited.
    "src/trioslock/primitives/_grant.py": "ASYNC102,ASYNC103,ASYNC104,ASYNC910",
    "src/trioslock/primitives/_rlock.py": "ASYNC102,ASYNC103,ASYNC104,ASYNC910",
    "src/trioslock/primitives/_tree_lock.py": "ASYNC102,ASYNC910",
    # Release what cannot be used, as in primitives. What is refused has been asked for.
    "src/trioslock/recipes/_holding.py": "ASYNC102",
    "src/trioslock/recipes/_leader.py": "ASYNC102",
    "src/trioslock/recipes/_once_per.py": "ASYNC910",
    "src/trioslock/recipes/_waiting.py": "ASYNC910",
    "src/trioslock/recipes/_worker_pool.py": "ASYNC102",
    # They await what a function of the client awaits, which is not seen through `with`,
    # and ask for nothing where there is nothing to ask for.
    "src/trioslock/cli/_info.py": "ASYNC910,ASYNC912",
    "src/trioslock/cli/_snapshot.py": "ASYNC910",
    "src/trioslock/cli/_watch.py": "ASYNC910,ASYNC912",
    # Below the public doors a coroutine waits only if there is something to wait
    # for: an unneeded checkpoint there is a pass of the scheduler for each request.
    "src/trioslock/primitives/_subscription.py": "ASYNC910",
    "src/trioslock/link/_link.py": "ASYNC910,ASYNC913",
    "src/trioslock/link/_replset.py": "ASYNC910,ASYNC912",
    "src/trioslock/link/_session.py": "ASYNC910",
    "src/trioslock/server/_connection.py": "ASYNC910",
    "src/trioslock/server/_server.py": "ASYNC910",
    # An interrupt of a thread is raised when its call has been withdrawn. What the
    # background run is given may have nothing to wait for, and nobody to give way to.
    "src/trioslock/sync/*": "ASYNC103,ASYNC106,ASYNC910",
    # Errors of the run in a thread are raised in the other one; its task of a call
    # waits for what it is given.
    "src/trioslock/testing/_in_thread.py": "ASYNC103,ASYNC910",
    # trio.serve_listeners ends by an error only.
    "src/trioslock/testing/_tcp.py": "ASYNC910",
    "src/trioslock/transport.py": "ASYNC910,ASYNC913",
}

WORKFLOW = ".github/workflows/ci.yml"
PYTEST = ("pytest", "-n", "4", "--dist", "loadfile")
# Of the tests that failed last; none to run is an error.
AGAIN = ("pytest", "--last-failed", "--last-failed-no-failures=none")
LONG = ("-m", "browser or long")


def install(session: nox.Session, *groups: str) -> None:
    """Install the project with its server extra and some dependency groups.

    With ``--no-venv`` everything is taken from the environment that is there.
    """
    if isinstance(session.virtualenv, PassthroughEnv):
        return
    flags = [f"--group={group}" for group in groups]
    session.install("-e", ".[poll]", *flags)


@nox.session
def lint(session: nox.Session) -> None:
    """Format, style and trio habits; ``nox -s lint -- --fix`` repairs what it can."""
    install(session, "lint")
    fix = "--fix" in session.posargs
    exceptions = " ".join(f"{file}:{rules}" for file, rules in ASYNC_EXCEPTIONS.items())
    session.run("ruff", "format", *([] if fix else ["--check"]), ".")
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    session.run("codespell")
    session.run("python", ".ci/write_facades.py", "--check")
    for schema in (
        "vendor.github-workflows",
        "custom.github-workflows-require-timeout",
    ):
        session.run("check-jsonschema", f"--builtin-schema={schema}", WORKFLOW)
    session.run(
        *("check-jsonschema", "--builtin-schema=vendor.compose-spec"),
        "deploy/compose.yaml",
    )
    session.run("hadolint", "deploy/Containerfile")
    manifests = sorted(map(str, Path("deploy/kubernetes").glob("*.yaml")))
    session.run("kubernetes-validate", "--strict", *manifests)
    flake8 = (
        *("flake8", "--isolated", "--max-line-length=88"),
        f"--startable-in-context-manager={STARTABLE}",
        f"--per-file-ignores={exceptions}",
    )
    session.run(*flake8, f"--select={ASYNC_RULES}", "src", "tests", "bench", "examples")
    session.run(*flake8, f"--select={CHECKPOINT_RULES}", "src/trioslock")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types strictly with mypy and pyright."""
    install(session, "lint", "test")
    session.run("mypy", "src", "tests/typing")
    session.run("pyright")
    session.run("pyright", "--verifytypes=trioslock", "--ignoreexternal")


@nox.session
def layers(session: nox.Session) -> None:
    """Check which way the imports point, and that each contract can fail."""
    install(session, "lint")
    # Without the cache: one that was written while a module was missing goes on
    # missing it.
    session.run("lint-imports", "--no-cache")
    session.run("python", ".ci/break_contracts.py")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests with branch coverage; after ``--``, options of pytest."""
    install(session, "test")
    run_suite(session, "--cov", "--cov-report=term", *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """Run the tests in Chromium and Node, and those of many faults at once."""
    install(session, "test")
    run_suite(session, *LONG, *session.posargs, again=LONG)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that ``pyproject.toml`` allows."""
    if isinstance(session.virtualenv, PassthroughEnv):
        session.error("lowest needs an environment of its own: leave out --no-venv")
    # Not in nox's folder for temporary files, which would be that of the tests too: the
    # paths of their sockets would be too long.
    constraints = Path(session.virtualenv.location, "lowest.txt")
    constraints.write_text("\n".join(lowest_versions()) + "\n")
    session.install("-e", ".[poll]", "--group=test", f"--constraint={constraints}")
    run_suite(session, *session.posargs)
    # The plugin, on the oldest pytest that it supports; ours needs a newer one.
    session.install(*pinned("test"))
    session.run("pytest", "-c", "examples/testing/pyproject.toml", "examples/testing")


def run_suite(session: nox.Session, *options: str, again: tuple[str, ...] = ()) -> None:
    """Run tests; what fails beside others must pass when it runs again alone."""
    try:
        session.run(*PYTEST, *options)
    except nox.command.CommandFailed:
        session.warn("running again, one by one, what has failed")
        session.run(*AGAIN, *again)


def lowest_versions() -> list[str]:
    """Pin each dependency to its lower bound; a constraint names no extras."""
    dependencies = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    return [*map(at_lower_bound, dependencies), *pinned("poll"), *pinned("cli")]


def pinned(extra: str) -> list[str]:
    """Pin what an extra needs to its lower bounds."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    return [*map(at_lower_bound, project["optional-dependencies"][extra])]


def at_lower_bound(requirement: str) -> str:
    return re.sub(r"(\[.*\])?>=([^,;]+).*", r"==\2", requirement)


@nox.session
def live(session: nox.Session) -> None:
    """Run the tests marked live on a real slock: ``-- --slock HOST:PORT``."""
    install(session, "test")
    session.run("pytest", "-m", "live", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation and run its examples; a warning is an error."""
    install(session, "docs", "test")
    session.run(
        *("sphinx-build", "-W", "--keep-going", "-E", "-q"),
        *("-b", "html", "docs", "docs/_build/html"),
    )
    pages = (
        *("test_repository", "test_documentation", "test_site"),
        "test_move_to_trioslock",
    )
    files = [f"tests/{name}.py" for name in (*pages, "examples/test_locks")]
    session.run("pytest", "-q", "-m", "not browser", *files)


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel, and try the installed wheel in environments of its own."""
    install(session, "build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", "dist", ".")
    (wheel,) = Path("dist").glob("*.whl")
    session.run("python", ".ci/try_wheel.py", str(wheel))
