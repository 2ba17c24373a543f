"""What is seen of work under way, on a clock that the tests set."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from curate.progress import Event
from curate.terminal.progress_view import Board, span

PAID = {"calls": 0, "tokens": 0, "usd": 0.0, "saved": 0, "in_flight": 16, "cap": ""}


def drawn(board: Board, now: float, width: int = 120) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width).print(board.render(now))
    return screen.getvalue()


def bought(n: int, **facts: Any) -> Event:
    return Event("rationale", n, 100, facts=PAID | {"calls": n, "tokens": 500 * n, "usd": 0.01 * n} | facts)


def test_before_the_first_step_it_says_that_it_starts() -> None:
    assert drawn(Board(), 0.0) == "starting\n"


def test_a_step_without_calls_is_a_bar_with_its_figures() -> None:
    board = Board()
    board.add(Event("embed", 0, 2000), 0.0)
    board.add(Event("embed", 500, 2000, facts={"cached": 20}), 10.0)
    assert "embed" in drawn(board, 10.0)
    assert "500 of 2,000 about 30 s left cached 20" in drawn(board, 10.0)
    assert "paid calls" not in drawn(board, 10.0)
    board.add(Event("read", 1, 9, facts={"by": "[red]x[/red]"}), 11.0)
    assert "by [red]x[/red]" in drawn(board, 11.0)


def test_paid_calls_show_pace_money_projection_cap_and_time_left() -> None:
    board = Board()
    board.add(Event("rationale", 0, 100), 0.0)
    for second in range(31):
        board.add(bought(second, saved=7, cap="$0.30 of $2.00 (--max-usd)"), float(second))
    told = drawn(board, 30.0)
    for words in (
        "30 of 100 about 70 s left",
        "16 in flight",
        "30 calls, 15,000 tokens · 60 calls and 30,000 tokens per minute · 7 from the ledger",
        "$0.300 spent, about $1.00 in all · cap: $0.30 of $2.00 (--max-usd)",
    ):
        assert words in told


def test_rates_are_those_of_the_last_minute_and_begin_anew_with_another_account() -> None:
    board = Board()
    for second in range(121):  # one call a second for a minute, then three
        board.add(bought(50, calls=second + 2 * max(0, second - 60)), second)
    assert "180 calls and" in drawn(board, 120.0)
    board.add(bought(1), 121.0)
    assert "per minute" not in drawn(board, 121.0)


def test_a_stage_around_the_calls_says_what_was_accepted_and_projects_the_money_over_its_places() -> None:
    board = Board()
    board.add(Event("stage 0", 0, 400), 0.0)
    board.add(Event("rationale", 0, 100), 0.0)
    board.add(bought(50), 10.0)
    assert "about $1.00 in all" in drawn(board, 10.0)  # nothing is judged yet: over the calls of this round
    board.add(Event("stage 0", 40, 400, facts={"rejected": 10}), 20.0)
    assert "rationale" not in drawn(board, 20.0)  # the round has ended, whether or not all of it came
    board.add(Event("rationale", 0, 100), 20.0)
    board.add(bought(50), 30.0)
    assert "40 accepted · 10 rejected · 16 in flight" in drawn(board, 30.0)
    assert "$0.500 spent, about $5.00 in all" in drawn(board, 30.0)


def test_without_a_price_there_is_no_money() -> None:
    board = Board()
    board.add(bought(50, usd=None), 0.0)
    assert "$" not in drawn(board, 9.0)


def test_a_pipe_gets_the_same_in_one_line() -> None:
    board = Board()
    board.add(Event("rationale", 0, 100), 0.0)
    event = bought(50, cap="50 of 90 (--max-calls)")
    took = board.add(event, 100.0)
    assert board.line(event, 100.0, took) == (
        "rationale: 50 of 100 in 100.0 s, 16 in flight, 50 calls, 25,000 tokens, $0.500 spent, about $1.00 in all, "
        "cap: 50 of 90 (--max-calls), about 2 min left"
    )


def test_nothing_is_wider_than_a_narrow_terminal() -> None:
    board = Board()
    board.add(bought(50, saved=123_456, cap="1,234,567 of 12,345,678 (--max-tokens)"), 0.0)
    assert max(map(len, drawn(board, 99.0, width=60).splitlines())) <= 60


TIMES = [(0.2, "1 s"), (89, "89 s"), (120, "2 min"), (5399, "1 h 30 min"), (12000, "3 h 20 min")]


@pytest.mark.parametrize(("seconds", "words"), TIMES)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert span(seconds) == words
