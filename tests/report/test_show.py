"""Rows as a person reads them: which are found, in which order, and that nothing of them is lost."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from curate.errors import InputError, ManifestNotFoundError, UnknownNameError
from curate.manifest.chats import Turns, split_chat
from curate.manifest.manifest import Manifest
from curate.manifest.rows import write_findings
from curate.report.show import ShowResult, show
from curate.terminal import layouts
from tests.support.samples import ingested

FINDING = {"auditor": "malformed", "score": 1.0, "decision": "reject", "because_of": None, "message": 'says "auditor": "leakage"'}
HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
]
ROWS: list[dict[str, Any]] = [
    {
        "prompt": "What is a quetzal?",
        "answer": "a bird",
        "domain": "birds",
        "status": "selected",
        "stage": 0,
        "reason": "central",
    },
    {
        "prompt": "2 + 2?",
        "answer": "4",
        "rationale": "Two and two: quetzals.",
        "domain": "sums",
        "status": "selected",
        "stage": 1,
    },
    {"prompt": "Which?", "answer": "B", "domain": "birds", "extra": json.dumps({"choices": ["owl", "Quetzal"], "level": 5})},
    {"prompt": "And you?", "answer": "Fine", "domain": "chat", "messages": json.dumps(HISTORY), "split": "test"},
    {
        "prompt": "",
        "answer": "",
        "domain": "sums",
        "status": "rejected",
        "source": "synthetic",
        "findings": write_findings([FINDING]),
    },
]


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return ingested(tmp_path_factory.mktemp("show"), ROWS)


def numbers(result: ShowResult) -> list[int]:
    """Return which of the rows are shown, by their place in the file."""
    return [int(row.columns["origin"].rpartition(":")[2]) - 1 for row in result.rows]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"domains": ["birds"]}, [0, 2]),
        ({"domains": ["birds", "chat"]}, [0, 2, 3]),
        ({"status": "selected"}, [0, 1]),
        ({"stage": 1}, [1]),
        ({"finding": "malformed"}, [4]),
        ({"split": "test"}, [3]),
        ({"source": "synthetic"}, [4]),
        ({"grep": "quetzal"}, [0, 1]),
        ({"grep": "quetzal", "ignore_case": True}, [0, 1, 2]),
        ({"grep": "quetzal", "domains": ["sums"]}, [1]),
        ({"grep": "Be brief"}, [3]),
        ({"grep": "5"}, [2]),
        ({"grep": "role"}, []),
        ({"grep": "choices"}, []),
        ({"grep": "(?i)"}, []),
        ({"grep": "?"}, [0, 1, 2, 3]),
    ],
)
def test_filters_let_through_what_they_name_and_no_names_of_columns(
    five: Manifest, filters: dict[str, Any], expected: list[int]
) -> None:
    found = show(five, **filters)
    assert numbers(found) == expected
    assert found.matched == len(expected)


def test_the_first_are_shown_and_a_seed_draws(five: Manifest) -> None:
    assert numbers(show(five, n=2)) == [0, 1]
    drawn = {seed: numbers(show(five, n=2, seed=seed)) for seed in range(8)}
    assert drawn[0] == numbers(show(five, n=2, seed=0))
    assert len({tuple(found) for found in drawn.values()}) > 3
    assert show(five, n=2, seed=3).matched == 5


def test_one_row_by_the_beginning_of_its_id(five: Manifest) -> None:
    row_id = five.rows()["id"][2]
    found = show(five, row=f"{row_id[:10].upper()}…")
    assert [row.columns["id"] for row in found.rows] == [row_id]
    with pytest.raises(InputError, match=r"row 'x y': give the id, .* as in: curate show tail 7c1e"):
        show(five, row="x y")
    with pytest.raises(ManifestNotFoundError, match="tail@0 has no row whose id begins with '0123456789'"):
        show(five, row="0123456789")
    with pytest.raises(InputError, match=f"row '{row_id}' is one row: leave it out, or --domain"):
        show(five, row=row_id, domains=["birds"])


def test_a_beginning_of_several_ids_names_them(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": str(i), "id": f"7c1e{i}" + "0" * 27} for i in range(3)])
    with pytest.raises(InputError, match=r"'7c1e' begins the ids of 3 rows of tail@0: 7c1e000000…"):
        show(start, row="7c1e")


def test_names_that_no_row_has_are_errors_and_what_is_merely_not_there_is_none(five: Manifest) -> None:
    with pytest.raises(UnknownNameError, match="unknown domain 'bird'; did you mean 'birds'"):
        show(five, domains=["bird"])
    with pytest.raises(UnknownNameError, match="unknown auditor with findings 'leakage'"):
        show(five, finding="leakage")
    with pytest.raises(UnknownNameError, match="--status"):
        show(five, status="chosen")
    with pytest.raises(InputError, match="--n must be at least 1, got 0"):
        show(five, n=0)
    with pytest.raises(InputError, match="--grep is empty"):
        show(five, grep="")
    assert show(five, domains=["birds"], split="test").to_dict() == {"rows": [], "matched": 0}


def test_json_has_the_same_keys_for_every_row_and_all_of_it(five: Manifest) -> None:
    told = show(five).to_dict()
    assert list(told) == ["rows", "matched"]
    assert len({tuple(row) for row in told["rows"]}) == 1
    chat, synthetic = told["rows"][3], told["rows"][4]
    assert chat["messages"] == HISTORY
    assert (told["rows"][2]["options"], told["rows"][2]["extra"]["level"]) == ({"A": "owl", "B": "Quetzal"}, 5)
    assert (synthetic["findings"], synthetic["parents"], synthetic["rationale"]) == ([FINDING], [], None)


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        ({"choices": {"text": ["owl", "kiwi"], "label": ["1", "2"]}}, {"1": "owl", "2": "kiwi"}),
        ({"options": {"a": "owl", "b": 7}}, {"a": "owl", "b": "7"}),
        ({"A": "owl", "B": "kiwi", "level": 1}, {"A": "owl", "B": "kiwi"}),
        ({"A": "owl", "C": "kiwi"}, {}),
        ({"options": "owl or kiwi"}, {}),
    ],
)
def test_options_are_found_in_the_shapes_that_data_sets_have(
    tmp_path: Path, extra: dict[str, Any], options: dict[str, str]
) -> None:
    start = ingested(tmp_path, [{"prompt": "Which?", "extra": json.dumps(extra)}])
    assert show(start).rows[0].options == options
    text = seen(show(start))
    assert text.count("owl") == ("owl" in str(extra))


def seen(result: Any, width: int = 80) -> str:
    screen = Console(file=io.StringIO(), width=width, highlight=False, emoji=False)
    for part in layouts.render(result):
        screen.print(part, markup=False)
    assert isinstance(screen.file, io.StringIO)
    return "\n".join(line.rstrip() for line in screen.file.getvalue().splitlines())


def test_a_chat_is_read_from_top_to_bottom_and_then_why(five: Manifest) -> None:
    text = seen(show(five, split="test"))
    parts = [
        "[system]\nBe brief.",
        "[user]\nHi",
        "[assistant]\nHello",
        "[user]\nAnd you?",
        "[answer]\nFine",
        "status      candidate",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert five.rows().filter(split="test")["id"].item() in text
    assert "rows.jsonl:4" in text


def test_options_status_and_findings_are_said_once(five: Manifest) -> None:
    text = seen(show(five, grep="Which?"))
    assert "[options]\nA. owl\nB. Quetzal" in text
    assert text.count("Quetzal") == 1
    why = seen(show(five, finding="malformed"))
    assert 'malformed rejects it (score 1.00): says "auditor": "leakage"' in " ".join(why.split())
    assert "status  selected in stage 0: central" in seen(show(five, stage=0))


def test_the_first_line_says_how_many_there_are_and_how_to_see_more(five: Manifest) -> None:
    assert seen(show(five)).splitlines()[0] == "tail@0: 5 rows match"
    assert seen(show(five, n=2)).splitlines()[:2] == [
        "tail@0: 5 rows match; the first 2 are shown; --n 5 shows more, --seed 0 draws",
        "others",
    ]
    assert "2 are shown, drawn by seed 3; --n 5 shows more, --seed 4" in seen(show(five, n=2, seed=3))
    assert seen(show(five, grep="no such text")) == "tail@0: no row matches"


def test_an_option_that_the_prompt_has_is_not_said_again(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": "Which?\nA. owl\nB) kiwi", "extra": json.dumps({"choices": ["owl", "kiwi"]})}])
    assert "[options]" not in seen(show(start))


def test_calls_of_tools_and_pictures_are_shown_as_they_are_kept(tmp_path: Path) -> None:
    kept: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
    ]
    text = seen(show(ingested(tmp_path, [{"prompt": "p", "messages": json.dumps(kept)}])))
    assert 'Look\n{"type": "image_url", "image_url": {"url": "u"}}' in text
    assert 'tool_calls: [{"id": "c1"}]' in text
    plain = seen(show(ingested(tmp_path, [{"prompt": "p", "messages": "no JSON"}], name="plain")))
    assert "[messages]\nno JSON" in plain


LONG = st.text(alphabet=st.sampled_from("aשلو漢👩‍\x1b\r\x9b\u202e \n"), max_size=400)


@given(LONG, LONG, LONG)
def test_any_text_is_whole_within_80_columns_and_sends_no_escape(prompt: str, answer: str, other: str) -> None:
    columns = {"domain": other, "findings": [{**FINDING, "message": other}], "parents": [], "stage": None, "reason": other}
    columns |= {"status": "selected", "split": "train", "source": "real", "origin": other, "id": "0" * 32}
    asked, answered = {"role": other, "content": prompt}, {"role": "assistant", "content": answer}
    chat = Turns((), asked, (), answered, after=({"role": other, "content": other},))
    row = type(
        "Row",
        (),
        {"columns": columns, "options": {"A": other}, "rationale": other, "answer": answer, "extra": {other: other}}
        | {"prompt": prompt, "option_columns": (), "chat": chat},
    )()
    text = seen(ShowResult(Manifest("math", 1), (row,), 1))
    assert not {"\x1b", "\r", "\x9b", "\u202e"} & set(text)
    assert max(Text(line).cell_len for line in text.split("\n")) <= 80
    assert text.count("👩") >= prompt.count("👩") + answer.count("👩")


@given(st.text(alphabet='aé"\\\n\x1b漢', min_size=1, max_size=3), st.booleans())
def test_a_text_is_found_wherever_it_is_however_json_writes_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, ascii_only: bool
) -> None:
    inside = f"x{text}y"
    rows = [
        {"prompt": inside},
        {"prompt": "z", "messages": json.dumps([{"role": "system", "content": inside}], ensure_ascii=ascii_only)},
        {"prompt": "z", "extra": json.dumps({"k": {"deep": [inside]}}, ensure_ascii=ascii_only)},
        {"prompt": "zz", "extra": json.dumps({inside: "name"}, ensure_ascii=ascii_only)},
    ]
    start = ingested(tmp_path_factory.mktemp("grep"), rows)
    for ignore_case in (False, True):
        expected = [0, 1, 2] if text not in "name" else [0, 1, 2, 3]
        assert numbers(show(start, grep=text, ignore_case=ignore_case)) == expected


def test_a_content_that_two_rows_share_shows_both(tmp_path: Path) -> None:
    start = ingested(tmp_path, [{"prompt": "same"}, {"prompt": "same"}, {"prompt": "other"}])
    found = show(start, grep="same")
    assert found.matched == 2
    assert [row.prompt for row in found.rows] == ["same", "same"]
    assert pl.Series([row.columns["id"] for row in found.rows]).n_unique() == 2


def chat_row(turns: list[dict[str, Any]], train: str = "last") -> dict[str, Any]:
    chat = split_chat(turns, train)
    return {"prompt": chat.prompt, "answer": chat.answer, "messages": chat.messages}


def test_a_chat_is_shown_whole_with_what_is_trained_on_and_what_follows(tmp_path: Path) -> None:
    turns = [
        *HISTORY,
        {"role": "user", "content": "And you?", "name": "kim"},
        {"role": "assistant", "content": "Fine", "reasoning_content": "I am well."},
        {"role": "user", "content": "Thanks."},
    ]
    start = ingested(tmp_path, [chat_row(turns, "all")])
    text = seen(show(start))
    parts = ["[assistant, trained on]\nHello", "[user]\nAnd you?\nname: kim", "[answer]\nFine\nreasoning_content: I am well."]
    places = [text.index(part) for part in (*parts, "[user, after the answer]\nThanks.")]
    assert places == sorted(places)
    assert "trained on  2 of 2 turns of the assistant" in text
    told = show(start).to_dict()["rows"][0]
    assert (told["chat"], told["turns"]) == (turns, "all")
    assert "trained on  the answer alone" in seen(show(ingested(tmp_path, [chat_row(turns)], name="last")))


def test_an_answer_that_calls_tools_is_shown_as_its_turn(tmp_path: Path) -> None:
    calling = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]}
    text = seen(show(ingested(tmp_path, [chat_row([{"role": "user", "content": "q"}, calling])])))
    assert '[answer]\ntool_calls: [{"id": "c1"}]' in text
    assert "trained on" not in text


def test_markers_among_the_turns_are_not_found(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q", "name": "kim"}, {"role": "assistant", "content": "a", "weight": 1}]
    start = ingested(tmp_path, [chat_row(turns)])
    assert [show(start, grep=text).matched for text in ("prompt", "answer", "kim")] == [0, 0, 1]
