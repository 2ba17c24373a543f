"""Six real shapes of data go in, are looked at and balanced, and come out again with nothing lost, by commands alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from curate.manifest import load
from curate.terminal import cli


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def curate_(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli.app, [*arguments, "--json"])
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def lines(*records: Any) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
CHATS = [
    [
        said("system", "Be brief."),
        said("user", "Hi"),
        said("assistant", "Hello"),
        said("user", "Bye?"),
        said("assistant", "Bye."),
    ],
    [said("user", "No, thanks"), said("assistant", "As you like.")],
    [said("user", "Ünïcode “quotes”"), said("assistant", "a\nb"), said("user", "No, thanks"), said("assistant", "Fine.")],
]
TOOLS = [
    {"messages": [said("user", "1+1?"), said("assistant", None, tool_calls=[CALL])], "tools": [TOOL]},
    {
        "messages": [
            *(said("user", "1+1?"), said("assistant", None, tool_calls=[CALL])),
            *(said("tool", "2", tool_call_id="c1"), said("assistant", "It is 2.", weight=1)),
        ],
        "tools": [TOOL],
    },
]
# Of each: files, further arguments of ingest, rows per split, and the chats that a trainer should read.
DOORS: dict[str, tuple[dict[str, str], list[str], dict[str, int], list[list[dict[str, Any]]]]] = {
    "mmlu": (
        {"mmlu.csv": 'What is 1+1?,1,2,"3, or so",4,B\n"Which is ""hot""?",ice,snow,fire,rain,C\n'},
        ["mmlu.csv", "--no-header", "--columns", "question,A,B,C,D,answer"],
        {"train": 2},
        [
            [said("user", "What is 1+1?\n\nA. 1\nB. 2\nC. 3, or so\nD. 4"), said("assistant", "B")],
            [said("user", 'Which is "hot"?\n\nA. ice\nB. snow\nC. fire\nD. rain'), said("assistant", "C")],
        ],
    ),
    "chats": (
        {
            "data/train.jsonl": lines(*({"messages": chat} for chat in CHATS)),
            "data/test.jsonl": lines({"messages": [said("user", "Quite another question?"), said("assistant", "Yes.")]}),
        },
        ["data/train.jsonl", "data/test.jsonl"],
        {"train": 3, "test": 1},
        CHATS,
    ),
    "headerless TSV": (
        {"pairs.tsv": "What is 2+2?\t4\tsums\nNULL?\tno\tlogic\n"},
        ["pairs.tsv", "--no-header", "--columns", "prompt,answer,domain"],
        {"train": 2},
        [[said("user", "What is 2+2?"), said("assistant", "4")], [said("user", "NULL?"), said("assistant", "no")]],
    ),
    "alpaca": (
        {
            "alpaca.json": json.dumps(
                [
                    {"instruction": "Given this paragraph, sum up.", "input": "A long paragraph.", "output": "Short."},
                    {"instruction": "Greet.", "input": "", "output": "Hi."},
                ],
                indent=1,
            )
        },
        ["alpaca.json"],
        {"train": 2},
        [
            [said("user", "Given this paragraph, sum up.\n\nA long paragraph."), said("assistant", "Short.")],
            [said("user", "Greet."), said("assistant", "Hi.")],
        ],
    ),
    "sharegpt": (
        {
            "share.jsonl": lines(
                *(
                    {"id": n, "conversations": [{"from": who[turn["role"]], "value": turn["content"]} for turn in chat]}
                    for who in [{"system": "system", "user": "human", "assistant": "gpt"}]
                    for n, chat in enumerate(CHATS)
                )
            )
        },
        ["share.jsonl"],
        {"train": 3},
        CHATS,
    ),
    "openai": ({"openai.jsonl": lines(*TOOLS)}, ["openai.jsonl"], {"train": 2}, [record["messages"] for record in TOOLS]),
}


def without_null(turn: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in turn.items() if value is not None or key == "content"}


@pytest.mark.parametrize("door", DOORS)
def test_a_shape_goes_in_and_comes_out_whole(door: str, here: Path) -> None:
    import datasets

    files, arguments, splits, expected = DOORS[door]
    for name, text in files.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text, encoding="utf-8")
    done = curate_("ingest", *arguments, "--to", "m")
    assert (done["added"], done["splits"], done["skipped"]) == (sum(splits.values()), splits, [])
    assert curate_("profile", "m")["splits"] == splits
    n = splits["train"]
    assert sum(line["achieved"] for line in curate_("balance", "m", "--budget", str(n), "--policy", "natural")["domains"]) == n
    assert curate_("ingest", *arguments, "--to", "m")["added"] == 0

    curate_("export", "m", "--to", "chat", "--destination", "chat")
    loaded = datasets.load_dataset("json", data_files={"train": "chat/train.jsonl"}, cache_dir=str(here / "hf"))["train"]
    read = {json.dumps([without_null(turn) for turn in record["messages"]], sort_keys=True) for record in loaded}
    assert read == {json.dumps(chat, sort_keys=True) for chat in expected}
    if door == "openai":
        assert all(record["tools"] == [TOOL] for record in map(json.loads, (here / "chat/train.jsonl").read_text().splitlines()))

    from trl.data_utils import is_conversational

    assert all(is_conversational(record) for record in loaded)
    curate_("export", "m", "--to", "datasets", "--destination", "parquet")
    table = datasets.load_dataset(str(here / "parquet"), cache_dir=str(here / "hf"))
    assert {split: len(part) for split, part in table.items()} == splits
    other = datasets.Dataset.from_dict({"prompt": ["x"], "answer": ["y"]})
    assert len(datasets.concatenate_datasets([table["train"].select_columns(["prompt", "answer"]), other])) == n + 1
    manifest = load("m")
    assert set(table["train"]["id"]) == set(manifest.rows().filter(split="train")["id"])
