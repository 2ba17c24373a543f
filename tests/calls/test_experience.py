from pathlib import Path

import pytest

from curate.calls.client import MeteredTeacher
from curate.calls.forecast import ENOUGH, read_replies
from curate.ledger.ledger import Ledger
from curate.teachers.base import RawResponse, Request, Usage
from curate.teachers.fake import Fake


def ask(ledger: Ledger, n: int, name: str, *, purpose: str = "rationale", prompt: int = 10, model: str = "fake") -> None:
    used = Usage(prompt, 20, 4, 0)
    teacher = Fake(script=lambda request, _: RawResponse.of("four", usage=used), model=model)
    messages = [{"role": "system", "content": "s" * 10}, {"role": "user", "content": "u" * 30}]
    requests = [Request(purpose, messages, sample=i + 1000 * (name == "other"), domain=f"d{i % 2}") for i in range(n)]
    MeteredTeacher(teacher, ledger, name).ask(requests)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def test_lengths_are_told_by_purpose(ledger: Ledger) -> None:
    ask(ledger, 9, "math")
    ask(ledger, 12, "math", purpose="synthesis", model="another")
    found = read_replies(ledger, "fake", "fake", "math")
    assert set(found) == {"rationale"}
    told = found["rationale"]
    assert (len(told), set(told.domains)) == (9, {"d0", "d1"})
    assert (set(told.prompt_chars), set(told.limits)) == ({40}, {512})
    assert (set(told.prompt_tokens), set(told.cached_tokens), set(told.completion_tokens)) == ({10}, {4}, {20})
    assert set(read_replies(ledger, "fake", "another", "math")) == {"synthesis"}
    assert read_replies(ledger, "fake", "unheard-of", "math") == {}


def test_a_manifests_own_replies_come_before_those_of_others_once_they_are_enough(ledger: Ledger) -> None:
    ask(ledger, ENOUGH - 1, "math", prompt=10)
    ask(ledger, 30, "other", prompt=99)
    assert len(read_replies(ledger, "fake", "fake", "math")["rationale"]) == ENOUGH - 1 + 30
    assert set(read_replies(ledger, "fake", "fake", "other")["rationale"].prompt_tokens) == {99}


def test_replies_without_figures_tell_nothing(ledger: Ledger) -> None:
    MeteredTeacher(Fake(), ledger, "math").ask([Request("rationale", [{"role": "user", "content": "2 + 2?"}], prompt="2 + 2?")])
    assert all(0 not in told.prompt_tokens for told in read_replies(ledger, "fake", "fake", "math").values())
