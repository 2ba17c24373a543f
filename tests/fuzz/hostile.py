"""Hostile inputs made from a seed: texts, arguments, templates, replies, files of data, and damage done to a store."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What a terminal, a template, JSON, a path, SQL, Markdown or arithmetic may stumble over.
PIECES = (
    *(
        "",
        " ",
        "\0",
        "\x1b[2J",
        "\x1b]52;c;cm0=\x07",
        "\r\n",
        "\u2028",
        "\u202e",
        "\ud800",
        "\ufeff",
        "é",
        "漢字",
        "😀",
        "²",
        "%00",
    ),
    *(
        "..",
        "/",
        "~",
        "-",
        "--",
        "@",
        "@latest",
        "#",
        "?",
        "*",
        "[a",
        "'",
        '"',
        "`",
        "|",
        "<script>",
        "&lt;",
        "{{ 1/0 }}",
        "{% if %}",
    ),
    *("[user]", "\\", "\\u0000", "NaN", "inf", "-inf", "1e400", "-1", "0", "9" * 30, "1_000", "0x10", "true", "null", "a" * 300),
)


def text(rng: random.Random, most: int = 4) -> str:
    """Return a text of a few hostile pieces and usual letters."""
    usual = ("math", "q1", "algebra", "7c1e", "x=1", "uniform")
    return "".join(rng.choice(PIECES if rng.random() < 0.7 else usual) for _ in range(rng.randint(1, most)))


def argument(rng: random.Random) -> str:
    """Return a text that a shell can hand to a program: without NUL, and encodable."""
    return text(rng).replace("\0", "").encode("utf-8", "ignore").decode() or "-"


def value(rng: random.Random, depth: int = 3) -> Any:
    """Return a JSON-able value of any shape."""
    kind = rng.randrange(9 if depth else 6)
    if kind < 3:
        return text(rng)
    if kind == 3:
        return rng.choice([0, -1, 1.5, 1e308, 10**30, float("nan"), float("inf")])
    if kind < 6:
        return rng.choice([None, True, False])
    if kind < 8:
        return {text(rng, 2): value(rng, depth - 1) for _ in range(rng.randint(0, 3))}
    return [value(rng, depth - 1) for _ in range(rng.randint(0, 3))]


def template(rng: random.Random) -> str:
    """Return a prompt template of broken, endless and well-formed pieces."""
    pieces = (
        *(
            "[user]\n",
            "[system]\n",
            "{{ prompt }}",
            "{{ prompt | json }}",
            "{{ prompt.x.y }}",
            "{{ 1/0 }}",
            "{{ 'a' * 10**9 }}",
            "{{ n ** 99 }}",
        ),
        *(
            "{% for s in seeds %}",
            "{% endfor %}",
            "{% if answer %}",
            "{% endif %}",
            "{% include 'x' %}",
            "{{ ''.__class__ }}",
            "{{",
            "%}",
            "{#",
        ),
        *(
            "{{ namespace() | json }}",
            "{{ '%d' % prompt }}",
            "{{ range(10**9) | list }}",
            "{{ prompt[9:1:0] }}",
            "{{ labels | first }}",
        ),
        *(
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{{ prompt | tojson }}",
            "{{ n | round(precision='x') }}",
            "{{ wanted | sum }}",
        ),
    )
    return "".join(rng.choice(pieces) if rng.random() < 0.8 else text(rng, 2) for _ in range(rng.randint(1, 6)))


def reply(rng: random.Random) -> str:
    """Return the body of a server's reply: a chat completion with parts missing, of wrong types, cut, or nothing of the kind."""
    message = rng.choice([{"role": "assistant", "content": value(rng)}, value(rng), None])
    body = {"choices": rng.choice([[{"message": message, "finish_reason": value(rng, 1)}], [], value(rng)]), "usage": value(rng)}
    body |= rng.choice([{}, {"seeds": value(rng)}, {"error": value(rng)}])
    written = json.dumps(body if rng.random() < 0.9 else value(rng))
    return written[: rng.randrange(len(written))] if rng.random() < 0.15 else written


def _json_lines(rng: random.Random) -> bytes:
    rows = [json.dumps(_row(rng)) if rng.random() < 0.9 else text(rng) for _ in range(rng.randint(0, 5))]
    return "\n".join(rows).encode("utf-8", "surrogatepass")


def _row(rng: random.Random) -> Any:
    usual = {"prompt": f"What is {rng.randrange(9)}?", "answer": "4", "domain": "sums"}
    return (
        usual | {rng.choice(["prompt", "answer", "domain", "extra", text(rng)]): value(rng)} if rng.random() < 0.8 else value(rng)
    )


def _json_array(rng: random.Random) -> bytes:
    return json.dumps([_row(rng) for _ in range(rng.randint(0, 4))]).encode("utf-8", "surrogatepass")


def _csv(rng: random.Random) -> bytes:
    lines = [
        "prompt,answer,domain",
        *(",".join(text(rng, 2) for _ in range(rng.randint(1, 5))) for _ in range(rng.randint(0, 4))),
    ]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _noise(rng: random.Random) -> bytes:
    return rng.choice([b"", b"\xff\xfe", b"PAR1", b"\x1f\x8b", b"ARROW1\0\0", b"[" * 5000, b"{"]) + rng.randbytes(
        rng.randrange(60)
    )


def _parquet(rng: random.Random) -> bytes:
    import io

    import polars as pl

    frame = pl.DataFrame({"prompt": ["one?", "two?"], "answer": ["1", "2"], "domain": ["a", "b"]})
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return damaged(rng, buffer.getvalue())


KINDS: dict[str, tuple[Callable[[random.Random], bytes], ...]] = {
    ".jsonl": (_json_lines, _noise),
    ".json": (_json_array, _noise),
    ".csv": (_csv, _noise),
    ".parquet": (_parquet, _noise),
    ".jsonl.gz": (_noise,),
}


def file(rng: random.Random, folder: Path) -> Path:
    """Write a file of data of any kind, with anything in it."""
    suffix = rng.choice(list(KINDS))
    path = folder / f"data{suffix}"
    path.write_bytes(rng.choice(KINDS[suffix])(rng))
    return path


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return bytes that are cut, changed in places, empty, or something else."""
    kind = rng.randrange(4)
    if kind == 0:
        return content[: rng.randrange(len(content) + 1)]
    if kind == 1 and content:
        changed = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    return rng.choice([b"", rng.randbytes(40), content + b"\0" * 9])


def damage(rng: random.Random, root: Path) -> Path:
    """Damage, empty or remove one file or folder of a store, and return which."""
    paths = sorted(path for path in (root / "manifests").rglob("*") if path.is_file() or rng.random() < 0.1)
    path = rng.choice(paths)
    if path.is_dir():
        shutil.rmtree(path)
    elif rng.random() < 0.25:
        path.unlink()
    else:
        path.write_bytes(damaged(rng, path.read_bytes()))
    return path
