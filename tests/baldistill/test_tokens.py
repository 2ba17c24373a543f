"""Tests of batching: boundaries between prompt and completion, even choices, batches."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill import tokens
from curate.errors import InputError, ModelError
from curate.manifest import chats
from tests.support import tiny_student


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_student.make(tmp_path_factory.mktemp("tokens") / "tiny"))


def _examples(*rows: tuple[str, str, str | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(("prompt", "answer", "rationale", "messages"), pl.String), orient="row")


def test_prompt_ends_with_the_assistants_header_and_completion_is_the_text_alone(tokenizer: Any) -> None:
    history = json.dumps([{"role": "system", "content": "we add"}])
    found = tokens.encode(tokenizer, _examples(("what is 1 + 2", "3", None, None), ("b", "4", "so 4", history)))
    texts = [(tokenizer.decode(t.prompt), tokenizer.decode(t.completion)) for t in found]
    assert texts[0] == ("<|start|>user\nwhat is 1 + 2<|end|>\n<|start|>assistant\n", "3")
    assert texts[1][0].startswith("<|start|>system\nwe add<|end|>\n<|start|>user\nb")
    assert texts[1][1] == "so 4\nThe answer is: 4"


def test_training_closes_the_turn_after_the_same_boundary(tokenizer: Any) -> None:
    examples = _examples(("what is 1 + 2", "3", "we add", None))
    (scored,), (trained,) = tokens.encode(tokenizer, examples), tokens.training_tokens(tokenizer, examples)
    assert trained.prompt == scored.prompt
    assert trained.completion[: len(scored.completion)] == scored.completion
    assert tokenizer.decode(trained.completion[len(scored.completion) :]) == "<|end|>\n"


def test_a_token_across_the_boundary_counts_as_the_completions(tokenizer: Any) -> None:
    """A template that opens the turn with ``the an`` makes one token of it and the ``swer`` that follows."""
    from copy import deepcopy

    merging = deepcopy(tokenizer)
    merging.chat_template = (
        "{{ messages[0]['content'] }} the{{ ' an' if add_generation_prompt else ' ' + messages[1]['content'] }}"
    )
    assert len(tokens.tokenize(merging, [" answer"])[0]) == 1
    prompt, whole = tokens.tokenize(merging, ["so the an", "so the answer"])
    (found,) = tokens._split(merging, ["so the an"], ["so the answer"])
    assert found.prompt + found.completion == whole, "the tokens of the text as one, not of its halves"
    assert found.prompt == prompt[: len(found.prompt)]
    assert len(found.prompt) < len(prompt)
    assert merging.decode(found.completion) == " answer"


CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def _chat(turns: list[dict[str, Any]], train: str = "last", extra: dict[str, Any] | None = None) -> pl.DataFrame:
    """Return a chat as the one row of a frame that `manifest.examples` gives."""
    found = chats.split_chat(turns, train)
    row = {"id": "r", "prompt": found.prompt, "answer": found.answer, "rationale": None, "messages": found.messages}
    return pl.DataFrame([{**row, "extra": extra and json.dumps(extra)}], schema=dict.fromkeys((*row, "extra"), pl.String))


def _with_template(tokenizer: Any, template: str) -> Any:
    from copy import deepcopy

    other = deepcopy(tokenizer)
    other.chat_template = template
    return other


def test_a_call_of_tools_is_learned_as_the_template_writes_it_or_as_json(tokenizer: Any) -> None:
    chat = _chat([{"role": "user", "content": "1 + 2"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}])
    for found in (tokens.encode(tokenizer, chat), tokens.training_tokens(tokenizer, chat)):
        written = tokenizer.decode(found[0].completion).removesuffix("<|end|>\n")
        assert json.loads(written) == [{**CALL, "function": {"name": "add", "arguments": {"a": 1}}}]
    calling = _with_template(tokenizer, tiny_student.CALLING)
    assert calling.decode(tokens.training_tokens(calling, chat)[0].completion) == 'add{"a": 1}<|end|>\n'
    assert calling.decode(tokens.encode(calling, chat)[0].completion) == 'add{"a": 1}'


def test_tools_stand_before_the_chat_where_the_template_has_a_place_for_them(tokenizer: Any) -> None:
    tools = {"tools": [{"type": "function", "function": {"name": "add"}}]}
    chat = _chat([{"role": "user", "content": "1 + 2"}, {"role": "assistant", "content": "3"}], extra=tools)
    calling = _with_template(tokenizer, tiny_student.CALLING)
    assert calling.decode(tokens.encode(calling, chat)[0].prompt).startswith("add:<|start|>user")
    assert tokens.left_out(calling, chat) == {}
    assert tokens.left_out(tokenizer, chat) == {"tools": 1}


def test_what_the_template_does_not_show_is_counted(tokenizer: Any) -> None:
    parts = [{"type": "text", "text": "1 + 2"}, {"type": "image_url", "image_url": {"url": "x"}}]
    chat = _chat([{"role": "user", "content": parts}, {"role": "assistant", "content": "3", "reasoning_content": "add"}])
    assert tokens.left_out(tokenizer, chat) == {"reasoning_content": 1, "parts that are no text": 1}
    assert "user\n1 + 2<|end|>" in tokenizer.decode(tokens.encode(tokenizer, chat)[0].prompt)
    assert tokens.left_out(tokenizer, _examples(("q", "a", None, None))) == {}


SEVERAL = [
    {"role": "system", "content": "we add"},
    {"role": "user", "content": "1 + 2"},
    {"role": "assistant", "content": "3"},
    {"role": "user", "content": "4 + 5"},
    {"role": "assistant", "content": "9"},
]


def _learned(tokenizer: Any, found: tokens.Tokens) -> list[str]:
    ids = found.prompt + found.completion
    return [tokenizer.decode(ids[start:end]) for start, end in found.learned] + [tokenizer.decode(found.completion)]


@pytest.mark.parametrize(
    ("train", "weight", "learned"),
    [
        ("last", None, ["9<|end|>\n"]),
        ("all", None, ["3<|end|>", "9<|end|>\n"]),
        ("all", 0, ["9<|end|>\n"]),
        ("last", 1, ["3<|end|>", "9<|end|>\n"]),
    ],
)
def test_earlier_answers_are_learned_where_the_row_says_so(tokenizer: Any, train: str, weight: Any, learned: list[str]) -> None:
    turns = [{**turn, "weight": weight} if n == 2 and weight is not None else turn for n, turn in enumerate(SEVERAL)]
    (found,) = tokens.training_tokens(tokenizer, _chat(turns, train))
    assert _learned(tokenizer, found) == learned


def test_earlier_answers_that_a_template_hides_are_counted(tokenizer: Any) -> None:
    hiding = _with_template(tokenizer, tiny_student.CALLING.replace("in messages", "in messages[-2:]"))
    (found,) = tokens.training_tokens(hiding, _chat(SEVERAL, "all"))
    assert (found.learned, found.missed) == ((), 1)


@given(st.lists(st.sampled_from(["3", "so 3", "", "the answer is 4", "a<|end|>"]), min_size=1, max_size=4))
def test_the_spans_learned_are_the_answers(tokenizer: Any, said: list[str]) -> None:
    turns = [turn for text in said for turn in ({"role": "user", "content": "?"}, {"role": "assistant", "content": text})]
    (found,) = tokens.training_tokens(tokenizer, _chat(turns, "all"))
    assert _learned(tokenizer, found)[:-1] == [f"{text}<|end|>" for text in said[:-1] if text]
    assert found.missed == said[:-1].count("")


def test_a_chat_that_the_template_refuses_is_one_line(tokenizer: Any) -> None:
    refusing = _with_template(tokenizer, "{{ raise_exception('no system turn, please') }}")
    with pytest.raises(ModelError, match=r"template refuses a chat of the turns system, user.*: no system turn, please$"):
        tokens.encode(refusing, _chat(SEVERAL))


def test_header_is_the_opened_turn_or_the_first_token_of_a_text(tokenizer: Any) -> None:
    from copy import deepcopy

    assert tokenizer.decode(tokens.header(tokenizer)) == "<|start|>assistant\n"
    plain = deepcopy(tokenizer)
    plain.chat_template = tokens.PLAIN_TEMPLATE
    assert tokens.header(plain) == [plain.bos_token_id]
    assert tokens.render(plain, [{"role": "user", "content": "a"}]) == "a\n\n"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert tokens.render(plain, turns, complete=True) == "a\n\nb<|end|>"
    begun = deepcopy(tokenizer)
    begun.chat_template = "{{ bos_token }}" + tiny_student.TEMPLATE.replace("<|start|>", "")
    assert begun.decode(tokens.header(begun)) == "<|start|>assistant\n", "a text that begins with BOS keeps it"


def test_stops_are_the_models_and_the_end_of_the_turn(tokenizer: Any) -> None:
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[1, 7]))
    assert tokens.stops(tokenizer, model) == sorted({1, 7, tokenizer.eos_token_id})


def test_no_texts_are_no_tokens(tokenizer: Any) -> None:
    assert tokens.tokenize(tokenizer, []) == []
    assert tokens.encode(tokenizer, _examples()) == []


rows_of_domains = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12), min_size=1)


def _rows(counts: dict[str, int]) -> pl.DataFrame:
    pairs = [(f"{domain}{i:02}", domain) for domain, n in counts.items() for i in range(n)]
    return pl.DataFrame(pairs, schema=["id", "domain"], orient="row")


@given(rows_of_domains, st.integers(1, 80), st.integers(0, 3))
def test_stratify_is_exact_even_and_blind_to_order(counts: dict[str, int], limit: int, seed: int) -> None:
    rows = _rows(counts)
    kept = tokens.stratify(rows, limit, seed=seed)
    assert kept.height == min(limit, rows.height)
    assert kept["id"].is_sorted()
    assert kept["id"].is_unique().all()
    assert kept.equals(tokens.stratify(rows.sample(fraction=1, shuffle=True, seed=9), limit, seed=seed))
    given_rows = dict(kept["domain"].value_counts().rows())
    most = max(given_rows.values())
    for domain, n in counts.items():  # nobody has two fewer than another, unless it has no more
        assert given_rows.get(domain, 0) >= min(n, most - 1)


def test_stratify_keeps_all_without_a_limit_and_refuses_none() -> None:
    rows = _rows({"a": 3, "b": 1})
    assert tokens.stratify(rows, None, seed=0).height == 4
    with pytest.raises(InputError, match="limit 0: use a number of rows above 0"):
        tokens.stratify(rows, 0, seed=0)


def test_another_seed_chooses_other_rows() -> None:
    rows = _rows({"a": 50})
    chosen = {tuple(tokens.stratify(rows, 5, seed=seed)["id"]) for seed in range(4)}
    assert len(chosen) == 4


@given(st.lists(st.integers(0, 50)), st.integers(1, 7))
def test_chunks_split_the_positions_longest_first(lengths: list[int], size: int) -> None:
    parts = tokens.chunks(lengths, size)
    flat = [i for part in parts for i in part]
    assert sorted(flat) == list(range(len(lengths)))
    assert all(1 <= len(part) <= size for part in parts)
    assert [lengths[i] for i in flat] == sorted(lengths, reverse=True)


@given(st.lists(st.integers(0, 50)), st.integers(1, 120))
def test_batches_are_filled_by_tokens_longest_first(lengths: list[int], budget: int) -> None:
    parts = tokens.fill(lengths, budget)
    flat = [i for part in parts for i in part]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[i] for i in flat] == sorted(lengths, reverse=True)
    assert all(len(part) == 1 or len(part) * lengths[part[0]] <= budget for part in parts)
    for part in parts[:-1]:
        assert (len(part) + 1) * max(1, lengths[part[0]]) > budget, "a batch is closed only when it is full"


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    import subprocess
    import sys

    modules = "baldistill.tokens, baldistill.score, baldistill.evaluate"
    code = f"import sys, {modules}; print({{'torch', 'trl', 'peft', 'sklearn'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "set()"
