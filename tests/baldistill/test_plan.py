"""Plans: one table per verb, every mistake in one report, and where each effective value comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from baldistill.runs import plan
from curate.errors import InputError, MistakesError

GOOD = """
manifest = "math"

[balance]
budget = 240
stages = 2
policy = "adaptive"
auditors = ["malformed"]
max_usd = 1

[train]
epochs = 2
learning_rate = 1e-4
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "demo.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(MistakesError) as caught:
        plan.load(write(folder, text))
    return caught.value.mistakes


def test_a_good_plan_is_its_tables(tmp_path: Path) -> None:
    checked = plan.load(write(tmp_path, GOOD))
    assert (checked.name, checked.manifest, list(checked.tables)) == ("demo", "math", ["balance", "train"])
    assert checked.parameters("balance") == {
        "budget": 240,
        "stages": 2,
        "policy": "adaptive",
        "auditors": ["malformed"],
        "max_usd": 1,
    }
    assert "train" in checked
    assert "export" not in checked
    assert checked.parameters("export") == {}


def test_short_stages_are_allowed_at_the_top(tmp_path: Path) -> None:
    assert not plan.load(write(tmp_path, GOOD)).allow_short
    assert plan.load(write(tmp_path, f"allow_short = true\n{GOOD}")).allow_short
    found = mistakes(tmp_path, f'allow_short = "yes"\n{GOOD}')
    assert found == ["allow_short: must be true or false, got 'yes'"]


def test_every_setting_says_where_it_comes_from(tmp_path: Path) -> None:
    settings = {(s.verb, s.key): (s.value, s.origin) for s in plan.load(write(tmp_path, GOOD)).settings()}
    assert settings["balance", "stages"] == (2, "plan")
    assert settings["balance", "selector"] == ("representative", "default")
    assert settings["train", "epochs"] == (2, "plan")
    assert settings["train", "rank"] == (16, "default")
    assert {verb for verb, _ in settings} == {"balance", "train"}


def test_all_mistakes_come_in_one_report_with_the_nearest_names(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        """
        manifst = "math"
        [balanse]
        budget = 1
        [train]
        epoch = 2
        rank = "16"
        output = "somewhere"
        """,
    )
    assert found == [
        'manifest: missing; name one at the top, such as manifest = "math"',
        "[balance]: missing; a run needs at least its budget",
        "unknown key 'manifst' at the top; did you mean 'manifest'?",
        "unknown table [balanse]; did you mean 'balance'?",
        "[train] unknown key 'epoch'; did you mean 'epochs'?",
        "[train] rank: must be a whole number, got '16'",
        "[train] output: a run sets this itself; leave it out",
    ]


def test_names_and_files_in_a_plan_must_exist(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        """
        manifest = "math"
        [balance]
        budget = 10
        policy = "unifrom"
        selector = "representativ"
        auditors = ["malformed", "leakge"]
        teacher = "recorded:gone.jsonl"
        rationale_prompt = "gone.j2"
        fill = "repat"
        """,
    )
    assert [line.split(" Known")[0] for line in found] == [
        "[balance] policy: unknown policy 'unifrom'; did you mean 'uniform'?",
        "[balance] selector: unknown selector 'representativ'; did you mean 'representative'?",
        "[balance] auditors: unknown auditor 'leakge'; did you mean 'leakage'?",
        f"[balance] teacher: no such file '{tmp_path / 'gone.jsonl'}'",
        f"[balance] rationale_prompt: no such file '{tmp_path / 'gone.j2'}'",
        "[balance] fill: unknown --fill 'repat'; did you mean 'repeat'?",
    ]


def test_files_are_found_from_the_plans_folder_and_addresses_stay(tmp_path: Path) -> None:
    for name in ("a.jsonl", "t.jsonl"):
        (tmp_path / name).touch()
    text = """
    manifest = "math"
    [ingest]
    sources = ["a.jsonl", "more/*.csv", "hf://org/name", "{absolute}"]
    [balance]
    budget = 1
    teacher = "recorded:t.jsonl"
    """
    checked = plan.load(write(tmp_path, text.replace("{absolute}", str(tmp_path / "a.jsonl"))))
    at = str(tmp_path)
    assert checked.parameters("ingest")["sources"] == [f"{at}/a.jsonl", f"{at}/more/*.csv", "hf://org/name", f"{at}/a.jsonl"]
    assert checked.parameters("balance")["teacher"] == f"recorded:{at}/t.jsonl"


@pytest.mark.parametrize("teacher", ["openai", "fake", "http://127.0.0.1:8000/v1"])
def test_the_name_of_a_teacher_is_no_file(tmp_path: Path, teacher: str) -> None:
    checked = plan.load(write(tmp_path, f'manifest = "math"\n[balance]\nbudget = 1\nteacher = "{teacher}"\n'))
    assert checked.parameters("balance")["teacher"] == teacher


def test_a_parameter_without_a_default_must_be_set(tmp_path: Path) -> None:
    assert mistakes(tmp_path, 'manifest = "math"\n[balance]\n') == ["[balance] budget: missing; it has no default"]


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("manifest = 3", "manifest: must be text, got 3"),
        ('manifest = "Math!"', "manifest: manifest name 'Math!': use [a-z0-9]"),
        ('manifest = "math"\nname = "adapters"', "name: 'adapters' is taken; choose another"),
        ('manifest = "math"\ntrain = 3', "train: must be a table, [train], got 3"),
    ],
)
def test_the_top_level_is_checked(tmp_path: Path, line: str, mistake: str) -> None:
    found = mistakes(tmp_path, f"{line}\n[balance]\nbudget = 1\n")
    assert len(found) == 1
    assert found[0].startswith(mistake)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"manifest = ", "is not TOML: "),
        (b'manifest = "\xff"', "is not UTF-8 text: byte 12"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "plan.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        plan.load(path)
    assert "plan.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "fitting", "unfitting"),
    [
        (int, [1, -1], [1.0, True, "1"]),
        (float, [1, 1.5], [True, "1.5"]),
        (bool, [True], [1, "true"]),
        (str, ["a"], [1, ["a"]]),
        (Path, ["a"], [1]),
        (str | None, ["a"], [1]),
        (str | Any, ["a"], [1, ["a"]]),
        (Any, [1, "a", []], []),
        (str | Callable[..., object], ["a"], [1]),
        (Sequence[str], [["a"], []], ["a", [1]]),
        (tuple[str, ...], [["a", "b"]], [["a", 1], "a"]),
        (list[int] | None, [[1]], [["a"], 1]),
        (Mapping[str, float], [{"a": 1}], [{"a": "b"}, 1]),
        (Literal["a", "b"], ["a"], ["c", 1]),
    ],
)
def test_values_are_checked_against_annotations(annotation: Any, fitting: list[Any], unfitting: list[Any]) -> None:
    assert all(plan.fits(value, annotation) for value in fitting)
    assert not any(plan.fits(value, annotation) for value in unfitting)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int | None, "a whole number"),
        (str | Callable[..., object], "text"),
        (str | Any, "text"),
        (Sequence[str] | None, "a list of text"),
        (Mapping[str, float], "a table"),
        (Literal["a", "b"], "one of 'a', 'b'"),
        (float | str, "a number or text"),
    ],
)
def test_types_are_spelt_in_words(annotation: Any, words: str) -> None:
    assert plan.spell(annotation) == words


@pytest.mark.parametrize("verb", plan.VERBS)
def test_every_table_is_the_keyword_parameters_of_its_verb(verb: str) -> None:
    settable = plan.parameters_of(verb)
    assert settable
    assert plan.VERBS[verb][1].isdisjoint(settable)
    signature = inspect.signature(plan._import(plan.VERBS[verb][0]))
    assert plan.VERBS[verb][1] <= set(signature.parameters)
    assert {key for table, key in [*plan.REGISTRIES, *plan.INPUTS] if table == verb} <= set(settable)
