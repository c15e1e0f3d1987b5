"""Prove that each import contract refuses what it is there to refuse.

For each line of ``[tool.trioslock.violations]`` in ``pyproject.toml`` this copies
``src``, appends the one import to the importing module, and expects ``lint-imports``
to report the contract as broken. A contract without a violation is an error, and so
is a line of a layers contract (all but the top one) from which no violation starts.

Usage: ``python .ci/break_contracts.py``, with ``lint-imports`` on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent


class Violation(NamedTuple):
    """An import that a contract must refuse.

    Attributes:
        contract: The contract's id.
        importer: The module that gets the import; for a package, its ``__init__``.
        imported: The module that it imports.
    """

    contract: str
    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.contract}: {self.importer} -> {self.imported}"


def main() -> int:
    """Try each violation; return the exit code."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts = {one["id"]: one for one in tool["importlinter"]["contracts"]}
    violations = list(read_violations(tool["trioslock"]["violations"]))
    complaints = list(unproven(contracts, violations)) or list(accepted(violations))
    for complaint in complaints:
        print(complaint)
    if not complaints:
        print(f"{len(contracts)} contracts refused {len(violations)} imports")
    return 1 if complaints else 0


def read_violations(table: dict[str, list[str]]) -> Iterator[Violation]:
    """Read lines of the form ``importer -> imported`` under a contract's id."""
    for contract, lines in table.items():
        for line in lines:
            importer, imported = line.split(" -> ")
            yield Violation(contract, importer, imported)


def unproven(
    contracts: dict[str, dict[str, Any]], violations: list[Violation]
) -> Iterator[str]:
    """Return a sentence for each contract, and each line of one, without violation."""
    for unknown in {one.contract for one in violations} - contracts.keys():
        yield f"{unknown}: there is no such contract"
    for id_, contract in contracts.items():
        importers = [one.importer for one in violations if one.contract == id_]
        if not importers:
            yield f"{id_}: no violation is listed"
        for line in layers_below_the_top(contract):
            if not any(within(importer, line) for importer in importers):
                yield f"{id_}: no violation starts from the line of {', '.join(line)}"


def layers_below_the_top(contract: dict[str, Any]) -> Iterator[list[str]]:
    """Return the full names of the modules in each line but the first."""
    containers = contract.get("containers", [""])
    for line in contract.get("layers", [])[1:]:
        names = [part.strip(" ()") for part in line.replace(":", "|").split("|")]
        yield [f"{box}.{name}".strip(".") for box in containers for name in names]


def within(module: str, packages: list[str]) -> bool:
    """Return whether a module is one of the packages or below one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def accepted(violations: list[Violation]) -> Iterator[str]:
    """Return a sentence for each violation that its contract does not refuse."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "src", copy / "src")
        shutil.copy(ROOT / "pyproject.toml", copy)
        for violation in violations:
            report = lint_with(copy, violation)
            if report is not None:
                yield f"{violation}: is not refused\n{report}"


def lint_with(copy: Path, violation: Violation) -> str | None:
    """Return the linter's report if the contract holds in spite of the violation."""
    module = source_of(copy / "src", violation.importer)
    if not module.exists():
        return "There is no such module."
    before = module.read_text()
    module.write_text(f"{before}\nimport {violation.imported}\n")
    try:
        done = subprocess.run(
            ["lint-imports", "--cache-dir=cache", f"--contract={violation.contract}"],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        module.write_text(before)
    # An exit code alone would also take an error in the configuration for a refusal.
    refused = done.returncode == 1 and "1 broken." in done.stdout
    return None if refused else done.stdout.partition("Contracts\n")[2] + done.stderr


def source_of(src: Path, module: str) -> Path:
    """Return the file of a module, or the ``__init__`` of a package."""
    path = src.joinpath(*module.split("."))
    package = path / "__init__.py"
    return package if package.exists() else path.with_suffix(".py")


if __name__ == "__main__":
    sys.exit(main())
