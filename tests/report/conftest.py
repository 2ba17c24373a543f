"""A tokenizer that counts words, in place of a student's."""

from typing import Any

import pytest

from curate.report import tokens


class Words:
    """A tokenizer whose tokens are words; its chat template puts the role before each turn."""

    chat_template = "{role}: {content}"

    def apply_chat_template(self, chat: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool) -> str:
        return "\n".join(f"{turn['role']}: {turn['content']}" for turn in chat)

    def __call__(self, texts: list[str], *, add_special_tokens: bool, verbose: bool = True) -> dict[str, list[list[str]]]:
        return {"input_ids": [text.split() for text in texts]}


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Serve `Words` under every name; the fingerprint can be changed."""
    print_of = {"fingerprint": "xxh3:1"}

    def find(name: str) -> Any:
        return type("Weights", (), {"label": name, **print_of})

    monkeypatch.setattr(tokens.models, "find", find)
    monkeypatch.setattr(tokens.models, "load_tokenizer", lambda name, root=None: Words())
    return print_of
