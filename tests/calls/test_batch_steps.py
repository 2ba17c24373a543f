"""The steps of a batch, over real HTTP on loopback: every end that it can have, what is charged, and what the user sees."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curate import progress
from curate.calls.client import MeteredTeacher
from curate.errors import InputError, TeacherError, UnknownNameError
from curate.ledger.ledger import Ledger
from curate.ledger.records import Caps, Charged
from curate.teachers.fake import Fake
from tests.support.batchserver import (
    BOUND,
    QUICK,
    LateError,
    Provider,
    answer,
    ask,
    asked,
    echo,
    good,
    metered,
    problem,
    providing,
    statuses,
    unrun,
)

# Ends of batches that are not the usual one


def test_an_expired_batch_keeps_what_it_has_and_the_rest_goes_into_another(ledger: Ledger) -> None:
    sent: list[str] = []

    def late(request: dict[str, Any]) -> Any:
        sent.append(request["custom_id"])
        return echo(request) if len(sent) in (1, 3) or len(sent) > 4 else unrun() if len(sent) == 2 else None

    provider = Provider(reply=late, final=lambda number: "completed" if number else "expired")
    with providing(provider):
        asker = metered(provider, ledger, caps=Caps(calls=4))
        assert [reply.text for reply in asker.ask([asked(n) for n in range(4)])] == good(4)
    assert provider.sizes == [4, 2]
    assert sent[4:] == [sent[1], sent[3]]
    free = [status for status in statuses(ledger) if status[0] == "failed"]
    assert free == [
        ("failed", 0, 0, 0, "batch_expired: This request could not be executed in time."),
        ("failed", 0, 0, 0, "the batch was expired before this request was processed"),
    ]
    assert (asker.account.charged().calls, asker.account.charged().tokens) == (4, 120)
    assert ledger.charged("math").tokens == 120


def test_a_cancelled_batch_keeps_what_it_has_and_after_so_many_tries_the_reply_says_why(ledger: Ledger) -> None:
    provider = Provider(
        reply=lambda request: echo(request) if "question 0" in str(request) else unrun("batch_cancelled"),
        final=lambda number: "cancelled",
    )
    with providing(provider):
        replies = ask(provider, ledger, 2)
        assert provider.sizes == [2, 1, 1]
        provider.final, provider.reply = (lambda number: "completed"), echo
        assert [reply.status for reply in ask(provider, ledger, 2)] == ["answered", "answered"]
    assert [reply.status for reply in replies] == ["answered", "failed"]
    assert "batch_cancelled" in replies[1].error


def test_a_batch_that_the_provider_refuses_costs_nothing_and_says_why(ledger: Ledger) -> None:
    problems = [{"code": "model_not_found", "message": "no model m", "line": 1}]
    with (
        providing(Provider(final=lambda number: "failed", problems=problems)) as provider,
        pytest.raises(TeacherError, match="teacher 'local' refuses the batch: 400 model_not_found: no model m"),
    ):
        ask(provider, ledger, 3)
    assert ledger.charged("math") == Charged()
    assert ledger.query("SELECT status FROM batches") == [("dropped",)]


def test_too_many_tokens_in_waiting_mean_smaller_batches_one_after_the_other(ledger: Ledger) -> None:
    problems = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
    provider = Provider(problems=problems)
    provider.final = lambda number: "failed" if provider.sizes[number] > 2 else "completed"
    with providing(provider):
        replies = ask(provider, ledger, 8, settings=replace(QUICK, longest=0.02))
    assert [reply.text for reply in replies] == good(8)
    assert sorted(provider.sizes, reverse=True) == [8, 4, 4, 2, 2, 2, 2]
    assert ledger.charged("math") == Charged(8, 240, pytest.approx(8 * 20e-6))


def test_one_request_that_is_too_much_for_the_limit_is_an_error(ledger: Ledger) -> None:
    problems = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
    with (
        providing(Provider(final=lambda number: "failed", problems=problems)) as provider,
        pytest.raises(TeacherError, match=r"accepts no more tokens in batches: .*; try again later, or use --mode live"),
    ):
        ask(provider, ledger, 2, settings=replace(QUICK, longest=0.02))
    assert ledger.charged("math") == Charged()


# Lines


def test_a_line_that_cannot_be_read_is_kept_charged_and_bought_again(ledger: Ledger) -> None:
    broken: list[str] = []

    def reply(request: dict[str, Any]) -> Any:
        if broken or "question 1" not in str(request):
            return echo(request)
        broken.append(f'{{"custom_id": "{request["custom_id"]}", "response": {{"status_co')
        return broken[0]

    with providing(Provider(reply=reply)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2, 1]
    assert sorted(statuses(ledger))[-1][0] == "failed"
    assert [row[2] for row in statuses(ledger) if row[0] == "failed"] == [BOUND]
    assert ledger.query("SELECT raw FROM replies ORDER BY attempt")[1] == (broken[0],)


def test_lines_for_no_call_and_second_copies_are_passed_over(ledger: Ledger) -> None:
    first = answer("first")

    def reply(request: dict[str, Any]) -> str:
        lines = [{"custom_id": request["custom_id"], **first}, {"custom_id": request["custom_id"], **answer("second")}]
        return "\n".join([*map(json.dumps, lines), json.dumps({"custom_id": "f" * 32, **first}), "what is this", '"or this"'])

    notes: list[str] = []
    with providing(Provider(reply=reply)) as provider, progress.listen(lambda event: notes.append(event.message)):
        assert [reply.text for reply in ask(provider, ledger, 1)] == ["first"]
    assert any("3 lines with unknown ids" in note for note in notes)
    assert [row[:3] for row in statuses(ledger)] == [("answered", 1, 30)]


def test_letters_that_some_take_for_line_ends_stay_in_their_lines(ledger: Ledger) -> None:
    text = "one\u2028two\x85three\x0bfour"
    with providing(
        Provider(reply=lambda request: json.dumps({"custom_id": request["custom_id"], **answer(text)}, ensure_ascii=False))
    ) as provider:
        assert ask(provider, ledger, 1)[0].text == text


def test_a_request_that_is_wrong_is_not_sent_again_and_one_that_met_a_limit_is(ledger: Ledger) -> None:
    times: Counter[str] = Counter()

    def reply(request: dict[str, Any]) -> Any:
        times[request["custom_id"]] += 1
        if "question 0" in str(request):
            return problem(400, "too long")
        return problem(429, "slow down") if "question 1" in str(request) and times[request["custom_id"]] == 1 else echo(request)

    with providing(Provider(reply=reply)) as provider:
        replies = ask(provider, ledger, 3)
    assert [(reply.status, reply.error) for reply in replies] == [
        ("rejected", "400 too long"),
        ("answered", ""),
        ("answered", ""),
    ]
    assert provider.sizes == [3, 1]
    assert sorted(row[1:3] for row in statuses(ledger) if row[0] == "failed") == [(1, 0), (1, 0)]


def test_a_parameter_that_the_model_does_not_take_is_left_out_of_the_next_batch(ledger: Ledger) -> None:
    def reply(request: dict[str, Any]) -> Any:
        return problem(400, "Unsupported parameter: 'temperature'") if "temperature" in request["body"] else echo(request)

    with providing(Provider(reply=reply)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2, 1, 1]


def test_a_request_without_a_line_stays_charged_and_is_asked_again(ledger: Ledger) -> None:
    seen: list[str] = []

    def reply(request: dict[str, Any]) -> Any:
        seen.append(request["custom_id"])
        return None if len(seen) == 2 else echo(request)

    with providing(Provider(reply=reply)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert [row[:3] for row in statuses(ledger)] == [("answered", 1, 30), ("lost", 1, BOUND), ("answered", 1, 30)]


def test_results_that_the_provider_no_longer_has_stay_charged(ledger: Ledger) -> None:
    provider = Provider(refuse=lambda method, path: (404, "no such File") if "/content" in path else None)
    with providing(provider):
        (reply,) = ask(provider, ledger, 1, settings=replace(QUICK, tries=1))
    assert (reply.status, [row[0] for row in statuses(ledger)]) == ("failed", ["lost"])
    assert "no longer has its results" in reply.error
    assert ledger.charged("math").tokens == BOUND


# Trouble on the way


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_batches_is_one_clear_line(ledger: Ledger, status: int) -> None:
    provider = Provider(refuse=lambda method, path: (status, "Not Found"))
    with (
        providing(provider),
        pytest.raises(TeacherError, match=rf"teacher 'local' has no batch interface \({status} .*: use --mode live"),
    ):
        ask(provider, ledger, 2)
    assert ledger.charged("math") == Charged()


def test_a_teacher_that_takes_no_batches_is_one_clear_line(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="--mode batch: teacher 'fake' takes no batches; use --mode live"):
        MeteredTeacher(Fake(), ledger, "math", mode="batch")
    with pytest.raises(UnknownNameError, match="unknown --mode 'bacth'; did you mean 'batch'"):
        MeteredTeacher(Fake(), ledger, "math", mode="bacth")


def test_a_wrong_key_is_an_error_that_costs_nothing_before_a_batch_is_made_and_loses_nothing_after(ledger: Ledger) -> None:
    provider = Provider(refuse=lambda method, path: (401, "wrong key"))
    with providing(provider):
        with pytest.raises(TeacherError, match="teacher 'local' refuses: 401 wrong key"):
            ask(provider, ledger, 2)
        assert ledger.charged("math") == Charged()
        provider.refuse = lambda method, path: (401, "wrong key") if method == "GET" else None
        with pytest.raises(TeacherError, match="teacher 'local' refuses: 401 wrong key"):
            ask(provider, ledger, 2)
        provider.refuse = lambda method, path: None
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2]


def test_troubles_that_pass_are_borne(ledger: Ledger) -> None:
    counts: Counter[str] = Counter()

    def refuse(method: str, path: str) -> tuple[int, str] | None:
        counts[path] += 1
        return (503, "busy") if counts[path] <= 2 else None

    with providing(Provider(refuse=refuse)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2]
    assert {"/v1/files", "/v1/batches", "/v1/batches/batch_0"} <= set(counts)


def test_a_server_that_is_gone_is_an_error_after_some_tries_and_nothing_is_lost(ledger: Ledger) -> None:
    with providing(Provider(looks=100)) as provider:
        provider.event = lambda name: setattr(provider, "refuse", lambda method, path: (503, "down")) if name == "look" else None
        with pytest.raises(TeacherError, match="cannot be reached: 503 down"):
            ask(provider, ledger, 2)
        assert [row[0] for row in statuses(ledger)] == ["sent", "sent"]
        provider.refuse, provider.event, provider.looks = (lambda method, path: None), (lambda name: None), 1
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2]


def test_nobody_at_the_address_is_an_error_that_costs_nothing(ledger: Ledger) -> None:
    with pytest.raises(TeacherError, match=r"teacher 'local' cannot be reached: ConnectError: .*; check the address"):
        ask(Provider(url="http://127.0.0.1:9/v1"), ledger, 2)
    assert ledger.charged("math") == Charged()


def test_a_making_whose_fate_is_unknown_is_looked_up_before_it_is_repeated(ledger: Ledger) -> None:
    provider = Provider()
    answered: list[str] = []

    def gateway(method: str, path: str) -> tuple[int, str] | None:
        """Make the batch and say 504 all the same, once; then say 504 without making one."""
        if (method, path) != ("POST", "/v1/batches") or len(answered) > 1:
            return None
        answered.append(path)
        return 504, "gateway timeout"

    provider.refuse = gateway
    with providing(provider):
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert provider.sizes == [2]
    assert provider.seen["create"] == 3
    assert provider.seen["list"] >= 4  # twice for the time of grace, after each making


def test_a_batch_in_a_list_is_taken_by_its_name(ledger: Ledger) -> None:
    provider = Provider()
    provider.event = lambda name: _say_nothing_of_it(provider) if name == "create?" else None
    with providing(provider):
        assert [reply.text for reply in ask(provider, ledger, 2)] == good(2)
    assert (provider.sizes, provider.seen["create"]) == ([2], 1)


def _say_nothing_of_it(provider: Provider) -> None:
    """Have the next making answered with 502 though it is done."""
    made = provider.create

    def create(told: dict[str, Any]) -> dict[str, Any]:
        made(told)
        provider.create = made  # type: ignore[method-assign]
        raise LateError

    provider.create = create  # type: ignore[method-assign]


def test_a_batch_that_the_provider_forgot_is_given_up_after_two_days(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    ledger = Ledger(tmp_path / "ledger.sqlite", clock=lambda: now[0])
    provider = Provider(looks=10**6)
    with providing(provider):
        provider.event = lambda name: provider.batches.clear() if name == "create" else None
        with pytest.raises(TeacherError, match="teacher 'local' refuses: 404 there is no such thing"):
            ask(provider, ledger, 1)
        with pytest.raises(TeacherError, match="refuses: 404"):
            ask(provider, ledger, 1)
        provider.event, provider.looks = (lambda name: None), 1
        now[0] += 49 * 3600
        assert [reply.text for reply in ask(provider, ledger, 1)] == good(1)
    assert [row[0] for row in statuses(ledger)] == ["lost", "answered"]


# Providers that differ a little


def completion(request: dict[str, Any]) -> dict[str, Any]:
    """Return the chat completion that answers a request."""
    return echo(request)["response"]["body"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "line",
    [
        lambda key, body: {"custom_id": key, "response": {"body": body}, "error": None},
        lambda key, body: {"custom_id": key, "response": body},
        lambda key, body: {"custom_id": key, **body},
        lambda key, body: {"recordId": key, "modelOutput": body},
        lambda key, body: {"custom_id": key, "response": {"status_code": "200", "body": json.dumps(body)}},
        lambda key, body: {"custom_id": key, "result": {"type": "succeeded", "message": body}},
    ],
)
def test_a_reply_is_found_wherever_it_stands_in_its_line(ledger: Ledger, line: Any) -> None:
    with providing(Provider(reply=lambda request: json.dumps(line(request["custom_id"], completion(request))))) as provider:
        assert [reply.text for reply in ask(provider, ledger, 3)] == good(3)
    assert provider.sizes == [3]
    assert {row[:3] for row in statuses(ledger)} == {("answered", 1, 30)}


def test_a_first_batch_of_which_nothing_can_be_read_is_kept_and_not_bought_again(ledger: Ledger) -> None:
    def strange(request: dict[str, Any]) -> str:
        return json.dumps({"custom_id": request["custom_id"], "response": {"body": {"words": "so it is"}}})

    with (
        providing(Provider(reply=strange)) as provider,
        pytest.raises(
            TeacherError, match=r"nothing in its batch can be read: the reply has no choices; the first line: .*so it is"
        ),
    ):
        ask(provider, ledger, 3)
    assert provider.sizes == [3]
    assert ["so it is" in raw for (raw,) in ledger.query("SELECT raw FROM replies")] == [True] * 3


def test_the_line_of_an_error_is_kept_as_it_came(ledger: Ledger) -> None:
    with providing(Provider(reply=lambda r: problem(400, "too long") if "question 0" in str(r) else echo(r))) as provider:
        ask(provider, ledger, 2)
    sql = "SELECT r.raw FROM replies r JOIN attempts a ON a.id = r.attempt WHERE a.status = 'failed'"
    assert [json.loads(raw)["response"]["status_code"] for (raw,) in ledger.query(sql)] == [400]


@pytest.mark.parametrize("word", ["COMPLETED", "succeeded", "ended", "JOB_STATE_SUCCEEDED", "Done", "all-through"])
def test_a_batch_is_over_whatever_word_the_provider_has_for_it(ledger: Ledger, word: str) -> None:
    with providing(Provider(final=lambda number: word)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 3)] == good(3)


def test_a_file_that_the_provider_is_still_at_work_on_is_waited_for(ledger: Ledger) -> None:
    looked: list[str] = []

    def refuse(method: str, path: str) -> tuple[int, str] | None:
        if (method, path) != ("POST", "/v1/batches"):
            return None
        looked.append(path)
        words = [(400, "File is in an invalid state: pending. It must be processed."), (404, "Input file not found")]
        return words[len(looked) - 1] if len(looked) <= len(words) else None

    with providing(Provider(refuse=refuse)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 2, settings=replace(QUICK, grace=5.0))] == good(2)
        assert (provider.seen["upload"], provider.sizes) == (1, [2])
        provider.refuse = lambda method, path: (400, "file is broken") if (method, path) == ("POST", "/v1/batches") else None
        with pytest.raises(TeacherError, match="refuses: 400 file is broken"):
            ask(provider, ledger, 3)


def test_after_a_batch_that_was_refused_for_a_parameter_one_request_goes_first_and_the_next_run_knows(ledger: Ledger) -> None:
    def reply(request: dict[str, Any]) -> Any:
        there = [name for name in ("max_tokens", "temperature", "seed") if name in request["body"]]
        return problem(400, f"Unsupported parameter: '{there[0]}'", "unsupported_parameter") if there else echo(request)

    with providing(Provider(reply=reply)) as provider:
        assert [reply.text for reply in ask(provider, ledger, 40)] == good(40)
        assert provider.sizes == [40, 1, 1, 1, 39], "one that is refused as a whole, two parameters more, a reply, and the rest"
        assert [reply.text for reply in ask(provider, ledger, 44)] == good(44)
    assert provider.sizes[5:] == [4]


def test_what_is_refused_to_everybody_in_a_batch_ends_the_run(ledger: Ledger) -> None:
    with (
        providing(Provider(reply=lambda request: problem(400, "no credit left"))) as provider,
        pytest.raises(TeacherError, match="refuses: 400 no credit left; 10 requests"),
    ):
        ask(provider, ledger, 30)
    assert provider.sizes == [30]


def refusing(request: dict[str, Any]) -> dict[str, Any]:
    """Refuse three parameters, one at a time, as servers do."""
    there = [name for name in ("max_tokens", "temperature", "seed") if name in request["body"]]
    return problem(400, f"Unsupported parameter: '{there[0]}'", "unsupported_parameter") if there else echo(request)


def test_one_live_request_learns_what_would_else_cost_three_batches(ledger: Ledger) -> None:
    requests = [asked(n) for n in range(5)]
    notes: list[str] = []
    with providing(Provider(reply=refusing, live=True)) as provider, progress.listen(lambda event: notes.append(event.message)):
        replies = metered(provider, ledger, settings=replace(QUICK, ask_first=True)).ask(requests)
        assert [reply.text for reply in replies] == good(5)
        assert provider.sizes == [4], "one batch, without the request that was answered"
        assert provider.seen["chat"] == 4, "three parameters that are refused, and the reply"
        answered = [row for row in statuses(ledger) if row[0] == "answered"]
        assert sorted(nano for *_, nano, _ in answered) == [20_000] * 4 + [40_000], "one at the price of a live request"
        chats = provider.seen["chat"]
        metered(provider, ledger, settings=replace(QUICK, ask_first=True)).ask([asked(n) for n in range(5, 9)])
        assert (provider.seen["chat"], provider.sizes) == (chats, [4, 4]), "what was learned is kept"
    assert sum("one of 5 requests is sent live first, at the price of a live one" in note for note in notes) == 1


def test_where_no_live_request_is_taken_everything_goes_into_the_batch(ledger: Ledger) -> None:
    with providing(Provider()) as provider:  # answers 404 to a chat completion
        asker = metered(provider, ledger, settings=replace(QUICK, ask_first=True))
        assert [reply.text for reply in asker.ask([asked(n) for n in range(3)])] == good(3)
    assert (provider.sizes, provider.seen["chat"]) == ([3], 1)


def test_a_request_that_is_in_a_batch_is_not_sent_live_beside_it(ledger: Ledger) -> None:
    with providing(Provider(live=True, looks=3)) as provider:
        asker = metered(provider, ledger, settings=replace(QUICK, ask_first=True))
        assert asker.ask([asked(0)])[0].text == good(1)[0]
        assert provider.seen["chat"] == 0, "one request alone is a batch of one"
