"""The list of messages in docs/teachers.md is what teachers, calls and ledger can say, word for word."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "teachers.md").read_text(encoding="utf-8")
LISTED = re.findall(r"^\| `([^\n]+?)` \| [^|\n]+ \| [^|\n]+ \|$", PAGE.partition("**Every message.**")[2], re.MULTILINE)
FEWEST = 3  # words of its own that a message has; what has fewer is made of another's words


def literal(node: ast.expr) -> str:
    """Return a text of source with one mark for each run of values in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    return "…"


def messages() -> Iterator[tuple[str, str]]:
    """Yield every message of a note or an error, with its place."""
    for path in sorted(path for folder in ("teachers", "calls", "ledger") for path in (ROOT / "curate" / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "progress.note":
                text = literal(node.args[1])
            elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = literal(node.exc.args[0])
            else:
                continue
            text = re.sub("…+", "…", " ".join(text.split()))
            if len(re.findall(r"[a-z]{2,}", text)) >= FEWEST:
                yield text, f"{path.name}:{node.lineno}"


def test_every_message_of_the_source_is_in_the_list() -> None:
    lacking = {place: text for text, place in messages() if text not in LISTED}
    assert not lacking, "add these to 'Every message' in docs/teachers.md"


def test_the_list_has_no_message_that_nothing_says() -> None:
    said = {text for text, _ in messages()}
    assert [text for text in LISTED if text not in said and len(re.findall(r"[a-z]{2,}", text)) >= FEWEST] == []


def test_no_message_is_listed_twice() -> None:
    assert len(LISTED) == len(set(LISTED)) > 50
