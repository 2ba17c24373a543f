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

from baldistill.student import tokens
from curate import progress
from curate.errors import InputError, ModelError
from curate.manifest import chats
from tests.support import templates, tiny_student


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


def test_no_token_spans_the_boundary(tokenizer: Any) -> None:
    """A template that opens the turn with ``the an``: with the ``swer`` that follows it would be one token."""
    merging = _with_template(tokenizer, "{{ messages[0].content }} the an{{ messages[1].content + eos_token if messages[1:] }}")
    context, whole = tokens.tokenize(merging, ["so the an", "so the answer"])
    assert whole[: len(context)] != context
    for written in (tokens.encode, tokens.training_tokens):
        (found,) = written(merging, _examples(("so", "swer", None, None)))
        assert found.prompt == context, "what is asked does not depend on the answer"
        assert merging.decode(found.completion).removesuffix("<|end|>") == "swer"


THOUGHT = "<think>\nwe add 1 and 2\n</think>\n\nso it is 3"


def _read(tokenizer: Any, kind: templates.Kind, answer: str) -> tuple[tokens.Tokens, tokens.Tokens]:
    """Return a row with a system turn as it is learnt, and as it is asked and scored."""
    turns = [{"role": role, "content": text} for role, text in (("system", "s"), ("user", "q"), ("assistant", answer))]
    (learnt,), (scored,) = (read(tokenizer, _chat(turns)) for read in (tokens.training_tokens, tokens.encode))
    return learnt, scored


@pytest.fixture(scope="module", params=templates.KINDS)
def kind_of(request: pytest.FixtureRequest) -> tuple[Any, templates.Kind]:
    kind = templates.KINDS[request.param]
    found = tiny_student.make_tokenizer(kind.template, begins=kind.begins)
    found.chat_template = found.chat_template or tokens.plain_template(found)
    return found, kind


def test_one_rendering_for_training_asking_and_scoring(kind_of: tuple[Any, templates.Kind]) -> None:
    tokenizer, kind = kind_of
    learnt, _ = _read(tokenizer, kind, "a")
    assert tokenizer.decode(learnt.prompt) == kind.context
    assert tokenizer.decode(learnt.completion) == kind.learnt
    ends = tokens.stops(tokenizer, SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None)))
    for answer in ("a", "so it is 3", THOUGHT, "12 \n", "answer", "."):
        learnt, scored = _read(tokenizer, kind, answer)
        assert tokenizer.decode(learnt.prompt) == kind.context, "asked alike whatever is answered"
        assert scored.prompt == learnt.prompt, "asked as trained"
        assert learnt.completion[: len(scored.completion)] == scored.completion, "scored are tokens that are learnt"
        assert set(ends) & set(learnt.completion), "the end is learnt"
        assert not set(ends) & set(scored.completion)
        for found in (learnt, scored):
            assert "".join(answer.split()) in "".join(tokenizer.decode(found.completion).split()), "nothing of an answer is lost"


def test_the_ids_are_those_of_the_template_where_it_shows_the_chat_whole(kind_of: tuple[Any, templates.Kind]) -> None:
    tokenizer, _ = kind_of
    turns = [{"role": "user", "content": "what is 1 + 2"}, {"role": "assistant", "content": "so it is 3"}]
    (found,) = tokens.training_tokens(tokenizer, _chat(turns))
    whole = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert (found.prompt + found.completion)[: len(whole)] == whole


def test_the_header_is_of_the_same_context(kind_of: tuple[Any, templates.Kind]) -> None:
    tokenizer, kind = kind_of
    learnt, _ = _read(tokenizer, kind, "a")
    opening = tokens.header(tokenizer)
    begun = opening[1:] if opening[0] == tokenizer.bos_token_id else opening
    assert opening
    assert begun == learnt.prompt[len(learnt.prompt) - len(begun) :]


def test_what_is_put_together_otherwise_than_the_template_is_said() -> None:
    heard: dict[str, list[str]] = {}
    for name, kind in templates.KINDS.items():
        tokenizer = tiny_student.make_tokenizer(kind.template, begins=kind.begins)
        tokenizer.chat_template = tokenizer.chat_template or tokens.plain_template(tokenizer)
        with progress.listen(lambda event, name=name: heard.setdefault(name, []).append(event.message)):  # type: ignore[misc]
            turns = [{"role": role, "content": text} for role, text in (("system", "s"), ("user", "q"), ("assistant", THOUGHT))]
            tokens.training_tokens(tokenizer, _chat(turns))
    moved = "in 1 rows the student's chat template has no system turn: what it says stands before the user's turn"
    assert heard == {
        "opens a thought, and hides thoughts": [
            moved,
            "in 1 rows the student's chat template leaves out a part of the answer, which is put back",
        ],
        "refuses a system turn": [moved],
        "shows the system's words where the last turn is the user's": [
            "in 1 rows the student's chat template shows the chat otherwise when it asks, and they are read as they are asked"
        ],
        "writes no mark at the end": [
            "the student's chat template ends an answer with no mark at which it stops: <|end|> is put behind 1 of them"
        ],
    }


def test_a_student_without_any_end_is_refused_where_it_must_learn_one() -> None:
    tokenizer = tiny_student.make_tokenizer("{% for m in messages %}[S]{{ m.content }}[E]{% endfor %}", marks=False)
    tokenizer.bos_token = None
    example = _examples(("q", "a", None, None))
    assert tokenizer.decode(tokens.encode(tokenizer, example)[0].completion).startswith("[S]a"), "scoring needs none"
    with pytest.raises(ModelError, match=r"no token that ends an answer.*; give tokenizer_config\.json an eos_token"):
        tokens.training_tokens(tokenizer, example)
    with pytest.raises(ModelError, match="no token that ends an answer"):
        tokens.stops(tokenizer, SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None)))


def test_a_template_that_shows_no_answer_is_refused(tokenizer: Any) -> None:
    mute = _with_template(tokenizer, "{% for m in messages %}{{ m.content if m.role == 'user' }}{% endfor %}")
    with pytest.raises(ModelError, match="does not show what the assistant says"):
        tokens.encode(mute, _examples(("q", "a", None, None)))


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
    heard: list[str] = []
    with progress.listen(lambda event: heard.append(event.message)):
        both = tokens.encode(tokenizer, chat), tokens.training_tokens(tokenizer, chat)
    assert heard == ["the student's chat template shows no calls of tools: in 1 rows they are read as JSON"] * 2
    for found in both:
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
    shown = "{% if message.role != 'assistant' or loop.last %}"
    hiding = tiny_student.CALLING.replace("in messages %}", "in messages %}" + shown).replace(
        "{% endfor %}{% if add", "{% endif %}{% endfor %}{% if add"
    )
    (found,) = tokens.training_tokens(_with_template(tokenizer, hiding), _chat(SEVERAL, "all"))
    assert (found.learned, found.missed) == ((), 1)
    kind = templates.KINDS["writes an empty thought"]
    said = [{**turn, "content": THOUGHT} if turn["role"] == "assistant" else turn for turn in SEVERAL]
    thinking = _with_template(tokenizer, kind.template or "")
    (found,) = tokens.training_tokens(thinking, _chat(said, "all"))
    assert _learned(thinking, found)[0].strip() == "so it is 3<|end|>"
    assert found.missed == 1, "of the earlier answer a part is learnt"


@given(st.lists(st.sampled_from(["3", "so 3", "", "the answer is 4", "a<|end|>"]), min_size=1, max_size=4))
def test_the_spans_learned_are_the_answers(tokenizer: Any, said: list[str]) -> None:
    turns = [turn for text in said for turn in ({"role": "user", "content": "?"}, {"role": "assistant", "content": text})]
    (found,) = tokens.training_tokens(tokenizer, _chat(turns, "all"))
    assert _learned(tokenizer, found)[:-1] == [f"{text}<|end|>" for text in said[:-1] if text]
    assert found.missed == said[:-1].count("")


def test_a_chat_that_the_template_refuses_is_one_line_that_names_the_row(tokenizer: Any) -> None:
    refusing = _with_template(tokenizer, templates.KINDS["refuses a system turn"].template or "")
    said = [("user", "1"), ("user", "2"), ("assistant", "3")]
    with pytest.raises(
        ModelError,
        match=r"^row r: the student's chat template refuses a chat of the turns user, user.*: Conversation roles must alternate; "
        "change the row's turns, leave it out, or name another student$",
    ):
        tokens.encode(refusing, _chat([{"role": role, "content": text} for role, text in said]))


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
def test_batches_have_at_most_so_many_rows(lengths: list[int], size: int) -> None:
    parts = tokens.fill(lengths, 10**6, rows=size)
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

    modules = "baldistill.student.tokens, baldistill.evaluation.score, baldistill.evaluation.evaluate"
    code = f"import sys, {modules}; print({{'torch', 'trl', 'peft', 'sklearn'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "set()"
