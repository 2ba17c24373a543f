"""Answers that move between ledgers: all of them or none, at no cost, and never another answer than was bought."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curate.balance.balance import balance
from curate.balance.results import BalanceResult
from curate.errors import InputError, MistakesError
from curate.files import ledger_path
from curate.ledger.leases import this_process
from curate.ledger.ledger import Ledger
from curate.ledger.records import CallSpec, Caps, CostBound
from curate.ledger.transfer import ledger_export, ledger_import
from curate.report import costs
from curate.report.costs import read_receipts
from curate.teachers.base import RawResponse, Usage, call_key, canonical_json
from curate.teachers.fake import Fake
from curate.teachers.responses import parse_response
from curate.vectors.encoders import FakeEncoder
from tests.support.samples import ingested

SECRET = "sk-not-a-real-key"


def spec(n: int = 0, model: str = "m") -> CallSpec:
    told = canonical_json({"messages": [{"role": "user", "content": f"question {n} ü 🙂"}], "temperature": 0.7})
    return CallSpec(call_key("local", model, told), "local", model, "rationale", "algebra", 0, told)


def bought(root: Path, *orders: CallSpec, text: str = "four", name: str = "math") -> Path:
    ledger = Ledger(ledger_path(str(root)))
    for wanted in orders:
        reservation = ledger.reserve(wanted, CostBound(name, "balance", 0, 100, 50), Caps(), this_process())
        ledger.record(reservation.attempt, RawResponse.of(text, usage=Usage(10, 5, 4, 1)).raw)
        ledger.settle(reservation.attempt, Usage(10, 5, 4, 1), 7, "stop")
    ledger.close()
    return root


def stored(root: Path, wanted: CallSpec) -> str | None:
    ledger = Ledger(ledger_path(str(root)))
    found = ledger.find([wanted.key]).get(wanted.key)
    ledger.close()
    return None if found is None else parse_response(found.raw).text


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return bought(tmp_path / "here", spec(0), spec(1), spec(2, model="other"))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_what_goes_out_comes_in_once(tmp_path: Path, here: Path, suffix: str) -> None:
    file = tmp_path / f"answers.jsonl{suffix}"
    assert ledger_export(file, root=here).calls == 3
    assert (file.read_bytes()[:1] == b"{") == (suffix == "")
    there = tmp_path / "there"
    first, second = ledger_import(file, root=there), ledger_import(file, root=there)
    assert (first.new, first.already, first.conflicting) == (3, 0, 0)
    assert (second.new, second.already, second.conflicting) == (0, 3, 0)
    assert stored(there, spec(1)) == "four"
    back = tmp_path / f"back.jsonl{suffix}"
    ledger_export(back, root=there)
    assert back.read_bytes() == file.read_bytes()


def test_nobody_is_charged_for_what_comes_in(tmp_path: Path, here: Path) -> None:
    ledger_export(tmp_path / "a.jsonl", root=here)
    there = tmp_path / "there"
    ledger_import(tmp_path / "a.jsonl", root=there)
    ledger = Ledger(ledger_path(str(there)))
    assert ledger.query("SELECT * FROM accounts") == []
    reservation = ledger.reserve(spec(0), CostBound("math", "balance", 0, 100, 50), Caps(calls=0), this_process())
    assert reservation.status == "answered"
    ledger.hit([reservation.call_id], "math", "balance", 0)
    ledger.close()
    told = costs.read_costs("math", root=there)
    assert (told.calls, told.tokens, told.saved_calls, told.saved_tokens, told.saved) == (0, 0, 1, 15, pytest.approx(7e-9))


def test_an_answer_that_is_here_stays(tmp_path: Path, here: Path) -> None:
    ledger_export(tmp_path / "a.jsonl", root=here)
    there = bought(tmp_path / "there", spec(0), text="five")
    told = ledger_import(tmp_path / "a.jsonl", root=there)
    assert (told.new, told.already, told.conflicting) == (2, 0, 1)
    assert stored(there, spec(0)) == "five"


def test_a_call_that_was_lost_here_is_answered(tmp_path: Path, here: Path) -> None:
    ledger_export(tmp_path / "a.jsonl", root=here)
    there = tmp_path / "there"
    ledger = Ledger(ledger_path(str(there)))
    lost = ledger.reserve(spec(0), CostBound("math", "balance", 0, 100, 50), Caps(), this_process())
    ledger.lose(lost.attempt, "reset")
    ledger.close()
    assert ledger_import(tmp_path / "a.jsonl", root=there).new == 3
    assert stored(there, spec(0)) == "four"
    assert costs.read_costs("math", root=there).lost == 1


def test_names_and_models_choose(tmp_path: Path, here: Path) -> None:
    bought(here, spec(7), name="chats")
    ledger = Ledger(ledger_path(str(here)))
    ledger.hit([ledger.find([spec(0).key])[spec(0).key].call_id], "chats", "balance", 0)
    ledger.close()
    assert ledger_export(tmp_path / "a", names=["chats"], root=here).calls == 2
    assert ledger_export(tmp_path / "a", names=["math", "chats"], models=["m"], root=here).calls == 3
    assert ledger_export(tmp_path / "a", models=["other"], root=here).calls == 1
    assert ledger_export(tmp_path / "a", names=["nobody"], root=here).calls == 0


def changed(**changes: Any) -> Callable[[list[str]], None]:
    def change(lines: list[str]) -> None:
        lines[2] = json.dumps({**json.loads(lines[2]), **changes})

    return change


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda lines: lines.__setitem__(2, lines[2][:-9]), "line 3: it is not a JSON object"),
        (changed(raw=RawResponse.of("five").raw), "line 3: its content is not what was exported"),
        (changed(key="0" * 32), "line 3: its content is not what was exported"),
        (changed(raw=None), "line 3: it needs key, endpoint"),
        (lambda lines: lines.append(lines[1]), "line 6: it comes after the end"),
        (lambda lines: lines.pop(1), "line 4: it ends after 3 calls, and 2 are here"),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_taken_in(
    tmp_path: Path, here: Path, damage: Callable[[list[str]], None], reason: str
) -> None:
    file, there = tmp_path / "a.jsonl", tmp_path / "there"
    ledger_export(file, root=here)
    lines = file.read_text().splitlines()
    damage(lines)
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(MistakesError, match="nothing was taken in") as caught:
        ledger_import(file, root=there)
    assert [reason in mistake for mistake in caught.value.mistakes] == [True]
    assert all(stored(there, spec(n)) is None for n in range(3))


def test_an_answer_cannot_be_put_under_another_question(tmp_path: Path, here: Path) -> None:
    from curate.ledger import transfer

    file = tmp_path / "a.jsonl"
    ledger_export(file, root=here)
    lines = file.read_text().splitlines()
    line = {**json.loads(lines[2]), "key": spec(99).key}
    del line["digest"]
    lines[2] = json.dumps({**line, "digest": transfer._digest(line)})  # as somebody would who knows the format
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(MistakesError, match=r"line 3: its key .* is not the key of its request"):
        ledger_import(file, root=tmp_path / "there")


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, here: Path, suffix: str) -> None:
    file, there = tmp_path / f"a.jsonl{suffix}", tmp_path / "there"
    ledger_export(file, root=here)
    whole = file.read_bytes()
    end = whole[:-1].rindex(b"\n") + 1 if not suffix else len(whole) // 2
    file.write_bytes(whole[:end])
    with pytest.raises(InputError, match=r"cut short|cannot be read"):
        ledger_import(file, root=there)
    assert stored(there, spec(0)) is None


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "2 + 2?"}\n')
    with pytest.raises(InputError, match="is not a ledger's export"):
        ledger_import(other, root=tmp_path)
    other.write_text('{"format": "curate ledger", "version": 2}\n')
    with pytest.raises(InputError, match="version 2, not 1"):
        ledger_import(other, root=tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        ledger_import(tmp_path / "gone.jsonl", root=tmp_path)
    with pytest.raises(InputError, match="there is no ledger"):
        ledger_export(other, root=tmp_path / "nowhere")
    with pytest.raises(InputError, match="cannot be written"):
        ledger_export(tmp_path / "no" / "folder.jsonl", root=bought(tmp_path, spec()))


def test_a_call_under_a_wrong_key_stays_behind(tmp_path: Path, here: Path) -> None:
    ledger = Ledger(ledger_path(str(here)))
    with ledger.transaction() as db:
        db.execute("UPDATE calls SET request = '{}' WHERE key = ?", (spec(0).key,))
    ledger.close()
    told = ledger_export(tmp_path / "a.jsonl", root=here)
    assert (told.calls, told.left_out) == (2, 1)
    assert ledger_import(tmp_path / "a.jsonl", root=tmp_path / "there").new == 2


def test_the_second_machine_buys_nothing_and_makes_the_same_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    rows = [
        {"prompt": f"{d} item {i}: what is {i * 17} plus {i}?", "answer": str(i * 18), "domain": d}
        for d, n in {"head": 12, "tail": 3}.items()
        for i in range(1, n + 1)
    ]

    def run(root: Path, teacher: Fake, **options: Any) -> BalanceResult:
        start = ingested(root, rows)
        return balance(start, budget=12, policy="uniform", teacher=teacher, encoder=FakeEncoder(), **options)

    here, there, file = tmp_path / "here", tmp_path / "there", tmp_path / "answers.jsonl.gz"
    known = {row["prompt"]: row["answer"] for row in rows}
    first = run(here, Fake(known, wrong=1))
    ledger_export(file, root=here)
    ledger_import(file, root=there)
    teacher = Fake(known, wrong=1)
    second = run(there, teacher, max_calls=0)
    assert not teacher.sent
    assert second.complete
    assert second.manifest.rows().sort("id").equals(first.manifest.rows().sort("id"))
    assert second.manifest.examples().sort("id").equals(first.manifest.examples().sort("id"))
    assert read_receipts(second.manifest).receipts == ()
    plain = tmp_path / "answers.jsonl"
    ledger_export(plain, root=here)
    assert SECRET not in plain.read_text()
    assert str(tmp_path) not in plain.read_text()
    assert json.loads(this_process())[0] not in plain.read_text()
