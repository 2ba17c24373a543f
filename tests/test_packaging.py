"""The set-up: versions are ranges in pyproject.toml, pinned in constraints.txt; the Makefile installs them; what is released."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Set
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import curate
from tests.support.names import missing, registries

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, GROUPS = PYPROJECT["project"], PYPROJECT["dependency-groups"]
EXTRAS = PROJECT["optional-dependencies"]
# What benchmarks compare with, in an environment of the reader's own.
PEERS = {"apricot", "bespokelabs", "semhash"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name: Version(version) for name, version in pairs}


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group, those of the groups that it includes too."""
    nested = (group(line["include-group"]) if isinstance(line, dict) else [line] for line in GROUPS[name])
    return [line for lines in nested for line in lines]


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    optional = [line for lines in [*EXTRAS.values(), *map(group, GROUPS)] for line in lines]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *optional, *PYPROJECT["build-system"]["requires"]]):
        pin = pins().get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in constraints.txt"
        assert pin in requirement.specifier, f"{requirement} does not allow the pin {pin}"


def test_a_release_is_built_with_the_backend_that_is_pinned() -> None:
    assert set(PYPROJECT["build-system"]["requires"]) <= set(group("release"))


def test_the_makefile_installs_groups_that_exist_with_a_pip_that_knows_groups() -> None:
    assert set(re.findall(r"--group (\S+)", MAKEFILE)) == set(GROUPS) - {"lint", "test"}, "`dev` brings those two"
    assert group("dev") == [*group("lint"), *group("test")]
    (pip,) = re.findall(r'"pip>=(\S+)"', MAKEFILE)
    assert Version("25.1") <= Version(pip) <= pins()["pip"]
    (extras,) = re.findall(r'-e "\.\[(.*)\]"', MAKEFILE)
    assert set(extras.split(",")) <= set(EXTRAS)


def test_what_tests_and_benchmarks_import_is_in_a_group_or_an_extra() -> None:
    users = {canonicalize_name(Requirement(line).name) for lines in [PROJECT["dependencies"], *EXTRAS.values()] for line in lines}
    for folder, name in (("tests", "dev"), ("benchmarks", "benchmarks")):
        known = users | {canonicalize_name(Requirement(line).name) for line in group(name)}
        assert not unnamed(ROOT.glob(f"{folder}/**/*.py"), known, peers=PEERS), f"name them in the group {name!r}"


def unnamed(paths: Iterable[Path], known: set[str], *, peers: Set[str] = frozenset()) -> set[str]:
    """Return the modules from outside that files import and that no known requirement provides."""
    providers = packages_distributions()
    imported = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.split(".")[0] for name in names}
    outside = imported - sys.stdlib_module_names - {"curate", "baldistill", "tests", "benchmarks"} - peers
    return {name for name in outside if not known & {canonicalize_name(found) for found in providers.get(name, [name])}}


def test_every_library_that_is_imported_is_a_direct_dependency() -> None:
    named = [line for lines in [PROJECT["dependencies"], *EXTRAS.values()] for line in lines]
    needed = {canonicalize_name(Requirement(line).name) for line in named}
    assert not unnamed([*ROOT.glob("curate/**/*.py"), *ROOT.glob("baldistill/**/*.py")], needed), "name and pin them"


def test_names_are_sorted_and_come_once() -> None:
    plain = [[line for line in lines if isinstance(line, str)] for lines in GROUPS.values()]
    for lines in [PROJECT["dependencies"], *EXTRAS.values(), *plain]:
        names = [Requirement(line).name for line in lines]
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


CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
MOVED = re.findall(r"^\| (.+) \| `([\w.]+)` \| `([\w.]+)` \|$", CHANGELOG, re.MULTILINE)
RENAMED = re.findall(r"^\| (`[\w.]+\.\w+`(?:, `[\w.]+`)*) \| (`[\w.]+`(?:, `[\w.]+`)*) \|$", CHANGELOG, re.MULTILINE)


@pytest.mark.parametrize(("what", "old", "new"), MOVED)
def test_what_the_changelog_says_has_moved_is_there(what: str, old: str, new: str) -> None:
    assert new != old
    names = re.findall(r"`(\w+)`", what)
    assert [lack for name in names if (lack := missing(f"{new}:{name}"))] == []
    assert missing(new) is None


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_what_the_changelog_says_is_renamed_is_there(old: str, new: str) -> None:
    olds, news = re.findall(r"[\w.]+", old), re.findall(r"[\w.]+", new)
    assert len(olds) == len(news)
    assert [missing(name) for name in news] == [None] * len(news)
    assert None not in map(missing, olds)


def long_description() -> str:
    """Return what a package index shows: the README after the substitutions, as hatch-fancy-pypi-readme makes it."""
    readme = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = "".join((ROOT / fragment["path"]).read_text(encoding="utf-8") for fragment in readme["fragments"])
    for step in readme["substitutions"]:
        text = re.sub(step["pattern"], step["replacement"], text)
    return text


def test_the_long_description_needs_no_file_beside_it() -> None:
    text, readme = long_description(), (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [target for target in re.findall(r"\]\(([^)]*)\)", text) if not target.startswith(("https://", "http://"))]
    assert "<img" not in text
    assert "Drawn by the tool" in readme
    assert "Drawn by the tool" not in text, "the line below a picture goes with it"
    assert len(text) > 0.9 * len(readme)
    assert all(heading in text for heading in re.findall(r"^#+ .*$", readme, re.MULTILINE))


@pytest.mark.parametrize("package", ["curate", "baldistill"])
def test_type_checkers_may_read_our_annotations(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_contributing_has_every_plug_in_point_with_its_module_and_group() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [a-z]+ \| (.+) \| `([\w.]+)` \| .+ \|$", page, re.MULTILINE)
    told = {(re.findall(r"[\w.]+", modules)[-1], group) for modules, group in rows}
    known = {(module, registry.group) for module, registry in registries()}
    assert told == known
    named = set(re.findall(r"`((?:curate|baldistill)\.[\w.]+)`", page)) - {group for _, group in known}
    assert [lack for name in sorted(named) if (lack := missing(name))] == []


def test_hooks_run_from_our_own_environment() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"], "others are fetched from the network"
    providers = {"pre_commit_hooks": "pre-commit-hooks"}
    known = {Requirement(line).name for line in group("lint") + group("hooks")}
    for hook in config["repos"][0]["hooks"]:
        python, flag, module = hook["entry"].split()[:3]
        assert (python, flag, hook["language"]) == (".venv/bin/python", "-m", "system")
        top = module.partition(".")[0]
        assert providers.get(top, top) in known


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test " in script.read_text(encoding="utf-8")


def test_public_continuous_integration_does_the_same_on_every_python_and_tests_the_wheel() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    steps = {job: [step["run"] for step in jobs[job]["steps"] if "run" in step] for job in jobs}
    assert steps["test"] == ["make test PYTHON=python"]
    assert steps["wheel"][0].startswith("make wheel-test ")
    versions = jobs["test"]["strategy"]["matrix"]["python-version"]
    prefix = "Programming Language :: Python :: "
    assert versions == [line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert set(re.findall(r"torch==(\d[\d.]*\d)", text)) == {str(pins()["torch"])}


def test_the_wheel_is_tested_as_a_user_gets_it() -> None:
    script = ROOT / "tests" / "installed.sh"
    assert script.stat().st_mode & 0o111
    text = script.read_text(encoding="utf-8")
    for step in ("-m build", "-m twine check --strict", "curate --version", "curate ingest", "curate balance"):
        assert step in text
