import asyncio
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curate.errors import InputError
from curate.manifest.chats import conversation
from curate.teachers.base import RawResponse, Request, Usage
from curate.teachers.recorded import Recorded
from curate.teachers.responses import ParsedResponse, parse_response

DATA = Path(__file__).parents[3] / "shared" / "data" / "teacher_recorded"


def written(folder: Path, records: Sequence[Mapping[str, Any]], name: str = "teacher.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def answers(teacher: Recorded, *requests: Request) -> list[RawResponse]:
    async def all_of_them() -> list[RawResponse]:
        return [answer async for _, answer in teacher.submit(requests)]

    return asyncio.run(all_of_them())


def readings(teacher: Recorded, *requests: Request) -> list[ParsedResponse]:
    return [parse_response(answer.raw) for answer in answers(teacher, *requests)]


def real(prompt: str, sample: int = 0) -> Request:
    return Request("rationale", [], sample=sample, prompt=prompt)


def new(domain: str, sample: int) -> Request:
    return Request("synthesis", [], sample=sample, domain=domain)


def test_real_questions_are_found_by_their_normalised_text_and_samples_are_in_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        [
            {"text": "What  is 2 + 2?", "rationale": "first", "prediction": "9", "label": "4", "kind": "real"},
            {"text": "what is 2 + 2? ", "rationale": "second", "prediction": "", "label": "4", "kind": "real"},
        ],
    )
    teacher = Recorded(path)
    assert [r.text for r in readings(teacher, real("WHAT IS 2 + 2?"), real("What is 2 + 2?", 1))] == ["first", "second"]
    assert [a.outcome for a in answers(teacher, real("What is 2 + 2?", 2), real("other"))] == ["unanswered", "unanswered"]


def test_an_index_orders_the_samples_whatever_the_order_of_the_lines(tmp_path: Path) -> None:
    records = [{"prompt": "q", "rationale": f"r{n}", "index": n} for n in (2, 0, 1)]
    teacher = Recorded(written(tmp_path, records))
    assert [r.text for r in readings(teacher, *(real("q", n) for n in range(3)))] == ["r0", "r1", "r2"]


def test_distinct_new_questions_are_a_pool_of_their_domain(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        [
            {"prompt": "a", "rationale": "ra", "answer": "1", "domain": "x", "kind": "synthetic", "finish_reason": "length"},
            {"prompt": "A ", "rationale": "again", "answer": "1", "domain": "x", "kind": "synthetic", "finish_reason": "stop"},
            {"prompt": "b", "rationale": "rb", "answer": "2", "domain": "x", "kind": "synthetic", "finish_reason": "stop"},
            {"prompt": "a", "rationale": "ya", "answer": "3", "domain": "y", "kind": "synthetic", "finish_reason": "stop"},
        ],
    )
    teacher = Recorded(path)
    assert (teacher.capacity("x"), teacher.capacity("y"), teacher.capacity("z")) == (2, 1, 0)
    found = readings(teacher, new("x", 0), new("x", 1), new("y", 0))
    assert [json.loads(r.text) for r in found] == [
        {"prompt": "a", "rationale": "ra", "answer": "1"},
        {"prompt": "b", "rationale": "rb", "answer": "2"},
        {"prompt": "a", "rationale": "ya", "answer": "3"},
    ]
    assert [r.finish_reason for r in found] == ["length", "stop", "stop"]
    assert json.loads(readings(teacher, new("x", 2))[0].text)["rationale"] == "again"  # the second answer, after the pool
    assert answers(teacher, new("x", 3))[0].outcome == "unanswered"


def test_a_reply_without_a_question_is_replayed_as_it_was(tmp_path: Path) -> None:
    records = [{"prompt": "", "rationale": text, "domain": "x", "kind": "synthetic"} for text in ("sorry", "no")]
    teacher = Recorded(written(tmp_path, records))
    assert teacher.capacity("x") == 2
    assert [r.text for r in readings(teacher, new("x", 0), new("x", 1))] == ["sorry", "no"]


def test_tokens_and_parents_are_told_on(tmp_path: Path) -> None:
    record = {"prompt": "a", "rationale": "r", "domain": "x", "kind": "synthetic", "parents": ["p"]}
    record |= {"prompt_tokens": 7, "completion_tokens": 3}
    found = readings(Recorded(written(tmp_path, [record])), new("x", 0))[0]
    assert (found.usage, found.seeds) == (Usage(7, 3), ("p",))


def test_the_words_of_the_prompt_do_not_shape_a_recorded_answer_and_the_file_does(tmp_path: Path) -> None:
    teacher = Recorded(written(tmp_path, [{"prompt": "q", "rationale": "r"}]))
    asked = Request("rationale", [{"role": "user", "content": "Explain q"}], prompt="q", temperature=0.1)
    assert teacher.shape(asked) == teacher.shape(real("q"))
    assert teacher.shape(real("q", 1)) != teacher.shape(real("q")) != teacher.shape(new("q", 0))
    other = Recorded(written(tmp_path, [{"prompt": "q", "rationale": "s"}]))
    assert other.endpoint != teacher.endpoint
    assert str(tmp_path) not in teacher.endpoint + teacher.model


def test_parquet_and_gzip_are_read_by_what_is_in_them(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["q"], "rationale": ["r"], "kind": ["real"]})
    frame.write_parquet(tmp_path / "teacher.data")
    (tmp_path / "teacher.jsonl.gz").write_bytes(gzip.compress(b'{"text": "q", "rationale": "r"}\n'))
    for name in ("teacher.data", "teacher.jsonl.gz"):
        assert readings(Recorded(tmp_path / name), real("q"))[0].text == "r"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json\n", "neither Parquet nor JSON lines"),
        ('{"question": "q"}\n', "no column 'rationale'"),
        ('{"rationale": "r"}\n', "no column 'prompt' or 'text' or 'question'"),
        ('{"prompt": "q", "rationale": "r", "kind": "fake"}\n', "'real' or 'synthetic', got 'fake'"),
    ],
)
def test_a_file_in_another_form_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "teacher.jsonl").write_text(text)
    with pytest.raises(InputError, match=words):
        Recorded(tmp_path / "teacher.jsonl")


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"recorded replies 'no.jsonl' cannot be read: No such file"):
        Recorded(tmp_path / "no.jsonl")


@pytest.mark.skipif(not DATA.exists(), reason="the shared data pack is not here")
@pytest.mark.parametrize(("name", "texts", "domains", "pool"), [("math", 3027, 4, 1518), ("r52", 5512, 40, 2225)])
def test_real_recordings_answer_what_they_have(name: str, texts: int, domains: int, pool: int) -> None:
    path = DATA / f"{name}_teacher.parquet"
    teacher, records = Recorded(path), pl.read_parquet(path)
    new_domains = records.filter(kind="synthetic")["domain"].unique().to_list()
    assert len(new_domains) == domains
    found = sum(teacher.capacity(domain) or 0 for domain in new_domains)
    assert pool * 0.98 < found <= pool + 60  # distinct once normalised, and per domain
    prompts = records.filter(kind="real")["text"].unique().to_list()
    assert len(prompts) == texts
    first = answers(teacher, *map(real, prompts[:200]))
    assert {answer.outcome for answer in first} == {"answered"}


def test_a_chat_is_found_by_its_whole_conversation(tmp_path: Path) -> None:
    history = json.dumps([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}])
    records = [{"prompt": "go on", "rationale": "alone", "messages": None}]
    records += [{"prompt": "go on", "rationale": "after hello", "messages": history}]
    teacher = Recorded(written(tmp_path, records))
    asked = [conversation("go on", messages) for messages in (None, history)]
    assert [found.text for found in readings(teacher, *map(real, asked))] == ["alone", "after hello"]
    other = written(tmp_path, [{"prompt": "go on", "rationale": "r", "messages": [{"role": "user"}]}], "turns.jsonl")
    assert readings(Recorded(other), real("go on"))[0].text == "r"
