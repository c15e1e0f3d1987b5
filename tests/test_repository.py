"""The README and the docs are true: commands, links, examples, decision records."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.documents import PAGES
from tests.services import wait_for_line

import trioslock

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted((ROOT / "src").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FRAGMENTS = sorted(
    path for path in (ROOT / "newsfragments").iterdir() if path.suffix == ".md"
)
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
API = ROOT / "docs" / "reference" / "api"
# The decisions' titles say what they are about, so their index is only a list.
INDEXES = sorted(
    path
    for path in (ROOT / "docs").glob("*/index.md")
    if path.parent.name != "decisions"
)

# What follows the name of an example that takes more than the URL of a server.
EXAMPLE_ARGUMENTS = {"set_event.py": ["examples-set-event"]}


def readme_commands() -> list[str]:
    """Return the README's two commands: the lines that make a virtual environment."""
    return re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)


def test_readme_has_the_two_commands() -> None:
    """One command serves and one tests, each alone in a code block."""
    serve, test = readme_commands()
    assert serve.endswith(".venv/bin/hypercorn -k trio triopoll:app")
    assert ".venv/bin/pytest -n 4" in test
    for command in (serve, test):
        assert f"```console\n{command}\n```" in README


def test_ci_runs_the_readme_command() -> None:
    """.ci/run extracts the test command from the README and contains no copy."""
    script = (ROOT / ".ci" / "run").read_text()
    rule = re.search(
        r"^readme_command\(\) \{\n.*?^\}", script, re.MULTILINE | re.DOTALL
    )
    assert rule is not None
    found = subprocess.run(
        ["bash", "-c", f"{rule.group()}\nreadme_command 2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.rstrip("\n") == readme_commands()[1]
    # The one other run is that of what has failed.
    assert re.findall(r"\bpytest (\S+)", script) == ["--last-failed"]


def test_tutorial_begins_with_the_readme_command() -> None:
    """The tutorial and the README start the service with the same line."""
    tutorial = (ROOT / "docs" / "tutorials" / "first-push.md").read_text()
    assert f"```console\n{readme_commands()[0]}\n```" in tutorial


def links() -> Iterator[tuple[Path, Path, str]]:
    """Each relative link of a page: the page, the file, and the title of the link."""
    for page in PAGES:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
        for target, title in re.findall(
            r"\]\(([^)#\s]+)[^)\s]*(?: \"(.*?)\")?\)", text
        ):
            if ":" not in target:
                yield page, page.parent / target, title


def test_links_lead_somewhere() -> None:
    """Each relative link is a file of the repository."""
    found = list(links())
    assert len(found) > 200
    assert [
        (str(page), str(file)) for page, file, _ in found if not file.exists()
    ] == []


def test_no_page_is_a_dead_end() -> None:
    """Tutorials, how-to guides and explanations link to another page."""
    folders = [ROOT / "docs" / name for name in ("tutorials", "how-to", "explanation")]
    pages = {page for folder in folders for page in folder.rglob("*.md")}
    assert len(pages) > 40
    go_on = {page for page, file, _ in links() if file.suffix == ".md"}
    assert [str(page) for page in sorted(pages - go_on)] == []


def test_pictures_are_small() -> None:
    """Each is below 150 KB, and the README shows one of them."""
    pictures = list((ROOT / "docs" / "_static").glob("*.png"))
    assert "](docs/_static/demo.png)" in README
    assert ROOT / "docs" / "_static" / "demo.png" in pictures
    assert [file.name for file in pictures if file.stat().st_size > 150_000] == []


def test_links_to_tests_name_one() -> None:
    """Where a link to a file of tests has a title, that is one of its tests."""
    named = [
        (file, title) for _, file, title in links() if title and file.suffix == ".py"
    ]
    assert len(named) > 60
    for file, title in named:
        assert f"def {title}(" in file.read_text(), (file, title)


def test_each_public_name_is_on_one_page_of_the_api() -> None:
    """``trioslock.__all__`` and the pages name the same, each name once."""
    pages = "".join(path.read_text() for path in API.glob("*.md"))
    described = re.findall(
        r"^\.\. auto(?:class|data|exception|function):: trioslock\.(\w+)(?:\(\))?$",
        pages,
        re.MULTILINE,
    )
    assert sorted(described) == sorted(trioslock.__all__)


def test_the_index_of_the_api_names_each_page() -> None:
    """A row of the table for each page, in the order of the contents."""
    text = (API / "index.md").read_text()
    rows = re.findall(r"^\| \[[^]]+\]\((\S+)\.md\) \| \S.* \|$", text, re.MULTILINE)
    assert sorted(rows) == sorted(
        path.stem for path in API.glob("*.md") if path.stem != "index"
    )
    (contents,) = re.findall(
        r"^```\{toctree\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    assert contents.split("\n\n")[1].split() == rows


def test_readme_and_wheel_test_set_the_event_alike() -> None:
    """The wheel test uses the command with which the README wakes its poll."""
    (command,) = re.findall(r"^redis-cli -p 5658 (.*)$", README, flags=re.MULTILINE)
    assert f'SET_EVENT = "{command}"' in (ROOT / ".ci" / "try_wheel.py").read_text()


SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
def test_readme_snippet_runs(served_port: int) -> None:
    """The README's Python example runs unchanged, on another port."""
    run_snippet(SNIPPETS[0], served_port)


@pytest.mark.slow
def test_readme_snippet_of_asyncio_runs(served_port: int) -> None:
    body = textwrap.indent(SNIPPETS[1], "    ")
    code = f"async def main():\n{body}\nimport asyncio\nasyncio.run(main())"
    run_snippet(code, served_port)


@pytest.mark.slow
def test_readme_snippet_of_blocking_code_runs(served_port: int) -> None:
    run_snippet(SNIPPETS[2], served_port)


def run_snippet(code: str, port: int) -> None:
    assert "127.0.0.1:5658" in code
    run_python("-c", code.replace("127.0.0.1:5658", f"127.0.0.1:{port}"))


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(example: Path, served_port: int) -> None:
    """Each example runs against ``python -m trioslock serve`` and prints output."""
    arguments = EXAMPLE_ARGUMENTS.get(example.name, [])
    assert run_python(str(example), *arguments, f"slock://127.0.0.1:{served_port}")


def run_python(*arguments: str) -> str:
    """Run Python with warnings as errors; return what it printed on standard output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def served_port() -> Iterator[int]:
    """The port of an embedded engine that is served by its command line."""
    command = [sys.executable, "-m", "trioslock", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = wait_for_line(process, "listening on ")
        yield int(line.rpartition(":")[2])
        process.terminate()
        assert process.wait(10) == 0


def test_fragments_are_named_by_their_topic() -> None:
    """A news fragment is named +<topic>.<type>.md, by a type that towncrier knows."""
    types = "|".join(kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"])
    name = re.compile(rf"\+[a-z][a-z0-9-]*\.({types})\.md")
    assert [path.name for path in FRAGMENTS if not name.fullmatch(path.name)] == []
    assert [path.name for path in FRAGMENTS if not path.read_text().strip()] == []


def test_changelog_has_the_version() -> None:
    """The newest release in the changelog is the version of the distribution."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", changelog, re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == PROJECT["project"]["version"]


def test_decisions_are_numbered_once() -> None:
    """Each decision has a unique number, which its title repeats."""
    numbers = [path.name[:4] for path in DECISIONS]
    assert len(numbers) == len(set(numbers))
    for number, path in zip(numbers, DECISIONS, strict=True):
        assert path.read_text().startswith(f"# {number}: ")


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_decision_has_its_sections(decision: Path) -> None:
    """A decision has context, choice and consequences, in this order."""
    headings = re.findall(r"^## (.*)$", decision.read_text(), flags=re.MULTILINE)
    wanted = ["Context", "Choice", "Consequences"]
    assert [heading for heading in headings if heading in wanted] == wanted


@pytest.mark.parametrize("index", INDEXES, ids=lambda path: path.parent.name)
def test_index_describes_each_page(index: Path) -> None:
    """Each section of the documentation has a row for each of its pages."""
    rows = re.findall(
        r"^\| \[[^]]+\]\(([^)]+)\) \| \S.* \|$", index.read_text(), re.MULTILINE
    )
    folder = index.parent
    found = {*folder.glob("*.md"), *folder.glob("*/index.md")} - {index}
    assert sorted(rows) == sorted(str(path.relative_to(folder)) for path in found)


def test_workflow_runs_what_the_noxfile_has() -> None:
    """Hosted CI runs each default session, and the lowest versions."""
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    commands = re.findall(r"^ *- run: nox -s (.*)$", workflow, re.MULTILINE)
    noxfile = (ROOT / "noxfile.py").read_text()
    default = re.search(r"^nox\.options\.sessions = (\[.*\])$", noxfile, re.MULTILINE)
    assert default is not None
    wanted = {*ast.literal_eval(default.group(1)), "lowest"}
    assert set(" ".join(commands).split()) == wanted


def test_workflow_runs_on_each_python() -> None:
    """Hosted CI tests the Python versions that the classifiers name."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    prefix = "Programming Language :: Python :: 3."
    named = [one for one in PROJECT["project"]["classifiers"] if one.startswith(prefix)]
    versions = workflow["jobs"]["tests"]["strategy"]["matrix"]["python-version"]
    assert versions == [one.rpartition(" ")[2] for one in named]


def test_contributing_shows_where_things_are() -> None:
    """The map in CONTRIBUTING.md has each package of src, and no other."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    (tree,) = re.findall(
        r"^```\n(src/trioslock/.*?)^```", contributing, re.DOTALL | re.MULTILINE
    )
    for package in ("trioslock", "triopoll"):
        part = re.search(rf"^src/{package}/.*\n((?: .*\n)+)", tree, re.MULTILINE)
        assert part is not None
        shown = re.findall(r"^    (\w+)/ ", part.group(1), re.MULTILINE)
        folders = [
            path.parent for path in (ROOT / "src" / package).glob("*/__init__.py")
        ]
        assert sorted(shown) == sorted(path.name for path in folders)


def test_each_dependency_has_a_lower_bound() -> None:
    """``nox -s lowest`` can pin each dependency to its lower bound."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    bounds = [*project["dependencies"], *(one for extra in extras for one in extra)]
    form = re.compile(r"[a-z0-9-]+(\[[a-z]+\])?>=\d+(\.\d+)*(,<\d+(\.\d+)*)?")
    assert [bound for bound in bounds if not form.fullmatch(bound)] == []


def test_no_private_parts_of_other_libraries_are_imported() -> None:
    """No module imports a private name or module of another library."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported_from_outside(node)
        if any(part.startswith("_") for part in name.split("."))
    ]
    assert found == []


def imported_from_outside(node: ast.AST) -> list[str]:
    """Return the dotted names that a statement imports from other libraries."""
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = []
    own = ("trioslock", "triopoll", "__future__")
    return [name for name in names if name.split(".")[0] not in own]


def test_wheel_has_both_packages_and_their_types() -> None:
    """Both packages, marked as typed, are in the wheel, the script and both plugins."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = ["src/trioslock", "src/triopoll"]
    plugins = PROJECT["project"]["entry-points"]["pytest11"].values()
    names = ["_trioslock_script", *plugins]
    modules = [f"src/{name}.py" for name in names]
    assert wheel["only-include"] == [*packages, *modules]
    assert PROJECT["project"]["scripts"]["trioslock"] == f"{names[0]}:main"
    for package in packages:
        assert (ROOT / package / "py.typed").exists()


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_logger_is_named_after_what_exists(path: Path) -> None:
    """A module or a package of today; access lines have a name that users filter by."""
    for name in re.findall(r'getLogger\("([^"]+)"\)', path.read_text()):
        place = ROOT / "src" / name.replace(".", "/")
        exists = place.is_dir() or place.with_suffix(".py").is_file()
        assert exists or name == "triopoll.requests", name
