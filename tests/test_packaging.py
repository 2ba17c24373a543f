"""The set-up: versions are ranges in pyproject.toml, pinned in constraints.txt, and the Makefile installs those."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import curate

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name: Version(version) for name, version in pairs}


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    optional = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *optional]):
        pin = pins().get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in constraints.txt"
        assert pin in requirement.specifier, f"{requirement} does not allow the pin {pin}"


def test_every_library_that_is_imported_is_a_direct_dependency() -> None:
    optional = [line for extra, lines in PROJECT["optional-dependencies"].items() if extra != "test" for line in lines]
    needed = {canonicalize_name(Requirement(line).name) for line in [*PROJECT["dependencies"], *optional]}
    providers = packages_distributions()
    imported = set()
    for path in [*ROOT.glob("curate/**/*.py"), *ROOT.glob("baldistill/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.split(".")[0] for name in names}
    outside = imported - sys.stdlib_module_names - {"curate", "baldistill"}
    unnamed = {name for name in outside if not needed & {canonicalize_name(found) for found in providers.get(name, [name])}}
    assert not unnamed, "name them in pyproject.toml, and pin them in constraints.txt"


def test_names_are_sorted_and_come_once() -> None:
    names = [re.match(r"[\w.-]+", line).group() for line in PROJECT["dependencies"]]  # type: ignore[union-attr]
    assert names == sorted(set(names), key=str.casefold)
    assert list(pins()) == sorted(pins())


def test_the_makefile_installs_the_pinned_torch() -> None:
    found = re.search(r"^TORCH \?= torch==(\S+)$", MAKEFILE, re.MULTILINE)
    assert found is not None
    assert Version(found.group(1)) == pins()["torch"]


def test_every_target_of_the_makefile_is_explained() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)) - {"help", "install"}
    assert targets == set(re.findall(r"make ([a-z-]+)", MAKEFILE.split("help:")[1].split("demo:")[0]))


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert f"\n## {curate.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test " in script.read_text(encoding="utf-8")
