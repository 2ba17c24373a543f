"""`profile --tokens` fills `n_tokens`, once for every row and student."""

import json
from pathlib import Path

import polars as pl
import pytest

from curate.defaults import DEFAULT_STUDENT
from curate.manifest.chats import split_chat
from curate.report import profile, tokens
from tests.support.samples import ingested


def test_tokens_are_counted_as_the_student_sees_them(tmp_path: Path, words: dict[str, str]) -> None:
    start = ingested(tmp_path, [{"prompt": "two words", "answer": "4"}, {"prompt": "one", "answer": "4", "split": "test"}])
    found = profile.profile(start, tokens=True)
    assert found.manifest.version == 1
    assert dict(found.manifest.rows("split", "n_tokens").iter_rows()) == {"train": 5, "test": 4}
    assert found.manifest.log()[-1].parameters == {"tokens": True, "student": DEFAULT_STUDENT, "fingerprint": "xxh3:1"}
    assert found.manifest.log()[-1].summary == {"counted": 2}


def test_counting_again_is_a_no_op(tmp_path: Path, words: dict[str, str]) -> None:
    once = profile.profile(ingested(tmp_path, [{"prompt": "a"}, {"prompt": "a"}]), tokens=True).manifest
    assert profile.profile(once, tokens=True).manifest.version == once.version == 1


def test_another_student_counts_everything_again(tmp_path: Path, words: dict[str, str]) -> None:
    once = profile.profile(ingested(tmp_path, [{"prompt": "a"}]), tokens=True).manifest
    words["fingerprint"] = "xxh3:2"
    again = profile.profile(once, tokens=True, student="other").manifest
    assert (again.version, again.log()[-1].parameters["student"]) == (2, "other")


def test_a_tokenizer_without_chats_sees_lines(tmp_path: Path, words: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens.models.load_tokenizer("any").__class__, "chat_template", None)
    found = profile.profile(ingested(tmp_path, [{"prompt": "two words", "rationale": "Easy.", "answer": "4"}]), tokens=True)
    assert found.tokens is not None
    assert found.tokens.max == len(["two", "words", "Easy.", "The", "answer", "is:", "4"])


def test_a_call_of_tools_counts_as_its_json_where_the_template_shows_none(tmp_path: Path, words: dict[str, str]) -> None:
    call = [{"function": {"name": "weather", "arguments": {}}}]
    chat = split_chat([{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": call}])
    row = {"prompt": chat.prompt, "answer": chat.answer, "messages": chat.messages}
    found = profile.profile(ingested(tmp_path, [row]), tokens=True)
    assert found.tokens is not None
    assert found.tokens.max == len(["user:", "q", "assistant:", *json.dumps(call).split()])


def test_lengths_are_counted_per_domain_and_label(tmp_path: Path, words: dict[str, str]) -> None:
    rows = [
        {"domain": "a", "domains": ["a"], "prompt": "one", "answer": "4"},
        {"domain": "a", "domains": ["a", "b"], "prompt": "one two three", "answer": "4"},
    ]
    frame = pl.DataFrame(rows).with_columns(rationale=pl.lit(None, pl.String), messages=pl.lit(None, pl.String), extra=None)
    found = tokens.measure_lengths([("train", frame), ("test", frame.head(1))], limit=4, student="words")
    assert [(d.split, d.domain, d.rows, d.over, d.longest) for d in found.domains] == [
        ("train", "a", 2, 1, 6),
        ("train", "b", 1, 1, 6),
        ("test", "a", 1, 0, 4),
    ]
    assert found.over == {"train": [1], "test": []}
    assert [d.share for d in found.domains] == [0.5, 1.0, 0.0]
