import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from curate.errors import LedgerError
from curate.ledger import ledger as ledgers
from curate.ledger.leases import this_process
from curate.ledger.ledger import Ledger
from curate.ledger.records import CallSpec, Caps, Charged, CostBound
from curate.teachers.base import Usage

USED = Usage(10, 5)
NOBODY = json.dumps(["elsewhere", 1, ""])  # an owner of another machine: alive as long as its lease
ME = this_process()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def spec(n: int = 0, **changes: object) -> CallSpec:
    told = {"endpoint": "local", "model": "m", "purpose": "rationale", "domain": "algebra", "sample": 0, "request": "{}"}
    return CallSpec(key=f"{n:032x}", **{**told, **changes})  # type: ignore[arg-type]


def bound(tokens: int = 100, nano_usd: int | None = 50, name: str = "math", stage: int = 0) -> CostBound:
    return CostBound(name, "balance", stage, tokens, nano_usd)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "manifests" / "ledger.sqlite", clock=clock)
    yield opened
    opened.close()


def buy(ledger: Ledger, n: int = 0, *, raw: str = "raw", usage: Usage | None = USED, nano: int | None = 7) -> int:
    reservation = ledger.reserve(spec(n), bound(), Caps(), ME)
    ledger.record(reservation.attempt, raw)
    ledger.settle(reservation.attempt, usage, nano, "stop")
    return reservation.attempt


def test_without_a_price_money_stays_unknown_and_counts_nothing(ledger: Ledger) -> None:
    for n in range(4):
        ledger.reserve(spec(n), bound(nano_usd=None), Caps(), ME)
    ledger.record(1, "raw")
    ledger.settle(1, Usage(10, 5), 7, "stop")  # a price that became known meanwhile is not that of the reservation
    ledger.fail(2, "400")
    ledger.lose(3, "reset")
    ledger.reject(4, "not JSON")
    assert ledger.query("SELECT DISTINCT nano_usd, reserved_nano_usd FROM attempts") == [(None, None)]
    assert ledger.charged("math") == Charged(4, 15 + 0 + 100 + 100, 0.0)


def test_what_a_reply_cost_is_its_bound_where_the_price_is_known_no_more(ledger: Ledger) -> None:
    attempt = buy(ledger, nano=None)
    assert ledger.query("SELECT tokens, nano_usd FROM attempts WHERE id = ?", (attempt,)) == [(USED.total, 50)]
    assert ledger.charged("math") == Charged(1, USED.total, 50e-9)


def test_a_reservation_is_charged_at_once_and_settled_at_what_was_billed(ledger: Ledger) -> None:
    reservation = ledger.reserve(spec(), bound(), Caps(), ME)
    assert reservation.status == "granted"
    assert ledger.charged("math") == Charged(1, 100, 50e-9)
    ledger.record(reservation.attempt, "raw")
    assert ledger.charged("math") == Charged(1, 100, 50e-9)
    ledger.settle(reservation.attempt, Usage(10, 5), 7, "stop")
    assert ledger.charged("math") == Charged(1, 15, 7e-9)
    assert ledger.charged("other") == Charged()


@pytest.mark.parametrize(
    ("caps", "name"),
    [
        (Caps(calls=1), "--max-calls 1 is reached"),
        (Caps(tokens=199), "--max-tokens 199 would be passed"),
        (Caps(usd=99e-9), "--max-usd 9.9e-08 would be passed"),
    ],
)
def test_a_cap_counts_the_next_call_at_its_upper_bound(ledger: Ledger, caps: Caps, name: str) -> None:
    assert ledger.reserve(spec(0), bound(), caps, ME).status == "granted"
    reservation = ledger.reserve(spec(1), bound(), caps, ME)
    assert (reservation.status, reservation.cap.startswith(name)) == ("capped", True)


@pytest.mark.parametrize("caps", [Caps(calls=2), Caps(tokens=200), Caps(usd=100e-9)])
def test_what_reaches_a_cap_exactly_is_within_it(ledger: Ledger, caps: Caps) -> None:
    assert [ledger.reserve(spec(n), bound(), caps, ME).status for n in range(2)] == ["granted", "granted"]


def test_a_raw_reply_is_on_disk_before_it_is_read(ledger: Ledger) -> None:
    reservation = ledger.reserve(spec(), bound(), Caps(), ME)
    ledger.record(reservation.attempt, "raw reply")
    with sqlite3.connect(ledger.path) as other:
        assert other.execute("SELECT raw FROM replies").fetchall() == [("raw reply",)]
    other.close()
    found = ledger.find([spec().key])[spec().key]
    assert (found.raw, found.billed, found.attempt) == ("raw reply", False, reservation.attempt)


def test_an_answered_call_is_never_granted_again(ledger: Ledger) -> None:
    buy(ledger)
    assert ledger.reserve(spec(), bound(), Caps(), ME).status == "answered"
    assert ledger.reserve(spec(), bound(name="other"), Caps(calls=0), ME).status == "answered"


def test_a_reply_without_figures_stays_charged_at_its_bound(ledger: Ledger) -> None:
    buy(ledger, usage=None, nano=None)
    assert ledger.charged("math") == Charged(1, 100, 50e-9)


def test_a_reply_that_used_more_than_its_bound_is_charged_in_full(ledger: Ledger) -> None:
    buy(ledger, usage=Usage(500, 500), nano=900)
    assert ledger.charged("math") == Charged(1, 1000, 900e-9)


def test_a_refusal_costs_a_call_and_no_tokens_and_one_that_never_left_costs_nothing(ledger: Ledger) -> None:
    ledger.fail(ledger.reserve(spec(), bound(), Caps(), ME).attempt, "429 slow down")
    assert ledger.charged("math") == Charged(1, 0, 0.0)
    ledger.fail(ledger.reserve(spec(), bound(), Caps(), ME).attempt, "nobody listens", sent=False)
    assert ledger.charged("math") == Charged(1, 0, 0.0)
    assert ledger.query("SELECT status FROM attempts WHERE cause = 'retry'") == [("failed",)]


def test_a_lost_attempt_stays_charged_and_may_be_sent_again(ledger: Ledger) -> None:
    ledger.lose(ledger.reserve(spec(), bound(), Caps(), ME).attempt, "reset")
    again = ledger.reserve(spec(), bound(), Caps(), ME)
    assert again.status == "granted"
    assert ledger.charged("math") == Charged(2, 200, 100e-9)


def test_an_unreadable_reply_is_kept_and_charged_and_the_call_may_be_sent_again(ledger: Ledger) -> None:
    reservation = ledger.reserve(spec(), bound(), Caps(), ME)
    ledger.record(reservation.attempt, "<html>")
    ledger.reject(reservation.attempt, "the reply is not JSON")
    assert ledger.find([spec().key]) == {}
    assert ledger.query("SELECT raw FROM replies") == [("<html>",)]
    assert ledger.charged("math") == Charged(1, 100, 50e-9)
    assert ledger.reserve(spec(), bound(), Caps(), ME).status == "granted"


def test_what_was_released_has_never_been(ledger: Ledger) -> None:
    ledger.release(ledger.reserve(spec(), bound(), Caps(), ME).attempt)
    assert ledger.charged("math") == Charged(0, 0, 0.0)
    assert ledger.query("SELECT COUNT(*) FROM calls") == [(0,)]


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        (Caps(calls=1), r"--max-calls 1 is reached: 1 calls are charged to 'math'"),
        (Caps(tokens=199), r"--max-tokens 199 would be passed: 100 tokens are charged to 'math', the next call may take 100"),
        (Caps(usd=99e-9), r"--max-usd 9.9e-08 would be passed"),
    ],
)
def test_a_cap_says_which_and_by_how_much_and_nothing_is_charged(ledger: Ledger, caps: Caps, words: str) -> None:
    assert ledger.reserve(spec(0), bound(), caps, ME).status == "granted"
    refused = ledger.reserve(spec(1), bound(), caps, ME)
    assert refused.status == "capped"
    assert words in refused.cap
    assert ledger.charged("math").calls == 1
    assert ledger.query("SELECT COUNT(*) FROM calls") == [(1,)]
    assert ledger.reserve(spec(1), bound(name="other"), caps, ME).status == "granted"


def test_a_call_under_way_elsewhere_is_waited_for_as_long_as_its_lease(ledger: Ledger, clock: Clock) -> None:
    ledger.reserve(spec(), bound(), Caps(), NOBODY)
    assert ledger.reserve(spec(), bound(), Caps(), ME).status == "busy"
    clock.now += ledgers.LEASE - 1
    ledger.renew(NOBODY)
    clock.now += ledgers.LEASE - 1
    assert ledger.reserve(spec(), bound(), Caps(), ME).status == "busy"
    clock.now += 2
    assert ledger.reserve(spec(), bound(), Caps(), ME).status == "granted"
    assert ledger.query("SELECT status, error FROM attempts ORDER BY id") == [
        ("lost", "its process ended before the reply was recorded"),
        ("sent", None),
    ]
    assert ledger.charged("math").calls == 2


def test_a_reply_that_comes_after_its_lease_still_counts(ledger: Ledger, clock: Clock) -> None:
    late = ledger.reserve(spec(), bound(), Caps(), NOBODY)
    clock.now += ledgers.LEASE + 1
    assert ledger.sweep("math") == 1
    assert ledger.record(late.attempt, "late")
    assert ledger.find([spec().key])[spec().key].raw == "late"


def test_the_first_answer_stays(ledger: Ledger, clock: Clock) -> None:
    late = ledger.reserve(spec(), bound(), Caps(), NOBODY)
    clock.now += ledgers.LEASE + 1
    buy(ledger, raw="first")
    assert not ledger.record(late.attempt, "late")
    assert ledger.find([spec().key])[spec().key].raw == "first"
    assert ledger.query("SELECT raw FROM replies ORDER BY raw") == [("first",), ("late",)]


def test_a_sweep_loses_what_dead_owners_had_under_way_for_this_name_alone(ledger: Ledger, clock: Clock) -> None:
    ledger.reserve(spec(0), bound(), Caps(), NOBODY)
    ledger.reserve(spec(1), bound(name="other"), Caps(), NOBODY)
    assert ledger.sweep("math") == 0
    clock.now += ledgers.LEASE + 1
    assert ledger.sweep("math") == 1
    assert ledger.charged("math") == Charged(1, 100, 50e-9)
    assert ledger.query("SELECT name, status FROM attempts ORDER BY name") == [("math", "lost"), ("other", "sent")]


def test_a_transaction_is_written_whole_or_not_at_all(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), ledger.transaction():  # noqa: PT012
        ledger.reserve(spec(), bound(), Caps(), ME)
        raise ZeroDivisionError
    assert ledger.charged("math") == Charged()
    assert ledger.query("SELECT COUNT(*) FROM calls") == [(0,)]


def test_a_full_disk_is_one_clear_line_and_nothing_is_changed(ledger: Ledger) -> None:
    pages = ledger.query("PRAGMA page_count")[0][0]
    ledger.query(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match=r"ledger 'ledger.sqlite' cannot be written, nothing was changed: .*full"):
        list(map(partial(buy, ledger, raw="x" * 2000), range(2000)))
    ledger.query("PRAGMA max_page_count = 1000000")
    charged, attempts = ledger.charged("math"), ledger.query("SELECT SUM(calls), SUM(tokens) FROM attempts")[0]
    assert (charged.calls, charged.tokens) == attempts


def test_a_folder_in_the_place_of_the_ledger_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(tmp_path)


def test_the_same_call_has_the_same_number_in_every_ledger(tmp_path: Path) -> None:
    numbers = []
    for name, before in (("a", [3, 1]), ("b", [])):
        opened = Ledger(tmp_path / f"{name}.sqlite")
        for n in before:
            buy(opened, n)
        buy(opened, 12345 << 88)
        numbers.append(opened.find([spec(12345 << 88).key])[spec(12345 << 88).key].call_id)
        opened.close()
    assert numbers[0] == numbers[1] < 2**53


def test_two_keys_with_one_number_are_two_calls(ledger: Ledger) -> None:
    buy(ledger, 1)  # the number is made of the first 13 digits; these two share them
    buy(ledger, 2)
    found = ledger.find([spec(1).key, spec(2).key])
    assert len({stored.call_id for stored in found.values()}) == 2


def test_many_threads_and_connections_do_not_pass_a_cap(tmp_path: Path) -> None:
    granted = []

    def work(number: int) -> None:
        own = Ledger(tmp_path / "ledger.sqlite")
        for n in range(25):
            reservation = own.reserve(spec(number * 1000 + n), bound(), Caps(calls=40), ME)
            granted.append(reservation.status)
        own.close()

    Ledger(tmp_path / "ledger.sqlite").close()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (granted.count("granted"), granted.count("capped")) == (40, 60)


CAPS = Caps(calls=12, tokens=900, usd=400e-9)


class Schedules(RuleBasedStateMachine):
    """Random reservations, replies, losses, refusals and deaths of owners, checked against a plain model."""

    attempts: Bundle[int] = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.ledger = Ledger(":memory:", clock=self.clock)
        self.model: dict[int, tuple[int, int, int]] = {}
        self.answers: dict[int, int] = {}

    @rule(target=attempts, n=st.integers(0, 15), tokens=st.integers(1, 300), nano=st.integers(0, 150), mine=st.booleans())
    def reserve(self, n: int, tokens: int, nano: int, mine: bool) -> int:
        reservation = self.ledger.reserve(spec(n), bound(tokens, nano), CAPS, ME if mine else NOBODY)
        if reservation.status != "granted":
            return 0
        self.model[reservation.attempt] = (1, tokens, nano)
        return reservation.attempt

    @rule(attempt=attempts, share=st.floats(0, 1))
    def answer(self, attempt: int, share: float) -> None:
        if attempt and self._status(attempt) in ("sent", "lost"):
            _, tokens, nano = self.model[attempt]
            self.ledger.record(attempt, "raw")
            used = (int(tokens * share), int(nano * share))
            self.ledger.settle(attempt, Usage(used[0], 0), used[1], "stop")
            self.model[attempt] = (1, *used)

    @rule(attempt=attempts, sent=st.booleans())
    def refuse(self, attempt: int, sent: bool) -> None:
        if attempt and self._status(attempt) == "sent":
            self.ledger.fail(attempt, "429", sent=sent)
            self.model[attempt] = (int(sent), 0, 0)

    @rule(attempt=attempts)
    def lose(self, attempt: int) -> None:
        if attempt and self._status(attempt) == "sent":
            self.ledger.lose(attempt, "reset")

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.ledger.sweep("math")

    def _status(self, attempt: int) -> str:
        status: str = self.ledger.query("SELECT status FROM attempts WHERE id = ?", (attempt,))[0][0]
        return status

    @invariant()
    def the_caps_hold_and_the_sums_are_true(self) -> None:
        calls, tokens, nano = (sum(column) for column in zip((0, 0, 0), *self.model.values(), strict=True))
        spend = self.ledger.charged("math")
        assert (spend.calls, spend.tokens, round(spend.usd * 1e9)) == (calls, tokens, nano)
        assert calls <= 12
        assert tokens <= 900
        assert nano <= 400

    @invariant()
    def an_answer_once_given_stays(self) -> None:
        answers = dict(self.ledger.query("SELECT id, answer FROM calls WHERE answer IS NOT NULL"))
        assert self.answers.items() <= answers.items()
        self.answers = answers

    @invariant()
    def nothing_is_under_way_for_ever(self) -> None:
        stale = "SELECT COUNT(*) FROM attempts WHERE status = 'sent' AND lease < ? AND owner = ?"
        self.ledger.sweep("math")
        assert self.ledger.query(stale, (self.clock.now, NOBODY)) == [(0,)]

    def teardown(self) -> None:
        self.ledger.close()


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_find_returns_what_was_answered_and_nothing_else(numbers: list[int]) -> None:
    ledger = Ledger(":memory:")
    for n in {n for n in numbers if n % 2}:
        buy(ledger, n, raw=str(n))
    found = ledger.find(spec(n).key for n in numbers)
    assert {key: stored.raw for key, stored in found.items()} == {spec(n).key: str(n) for n in numbers if n % 2}
    ledger.close()


def network(path: Path) -> str:
    return "nfs4"


def journal(path: Path) -> str:
    with sqlite3.connect(path) as other:
        (mode,) = other.execute("PRAGMA journal_mode").fetchone()
    other.close()
    return str(mode)


def test_on_a_network_the_ledger_is_not_written_ahead(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    local = Ledger(path)
    buy(local, 0)
    assert journal(path) == "wal"
    local.close()
    first, second = Ledger(path, disk_kind=network), Ledger(path, disk_kind=network)
    assert journal(path) == "delete"  # what a file is in that is not written ahead
    buy(first, 1)
    buy(second, 2)
    assert len(first.find([spec(n).key for n in range(3)])) == 3
    assert not path.with_name("ledger.sqlite-wal").exists()
    first.close()
    second.close()
    Ledger(path).close()
    assert journal(path) == "wal"


def test_on_a_network_one_machine_works_at_a_time(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "ledger.sqlite"
    theirs = Ledger(path, clock=clock, disk_kind=network)
    theirs.reserve(spec(), bound(), Caps(), NOBODY)
    ours = Ledger(path, clock=clock, disk_kind=network)
    with pytest.raises(LedgerError, match=r"network file system \(nfs4\) and machine 'elsewhere' is using it"):
        ours.sweep("math")
    assert Ledger(path, clock=clock).sweep("math") == 0  # on a disk of its own a ledger may be shared
    clock.now += ledgers.LEASE + 1
    assert ours.sweep("math") == 1


def test_many_processes_do_not_pass_a_cap_and_buy_a_call_once(tmp_path: Path) -> None:
    path, shared = tmp_path / "ledger.sqlite", 20
    code = (
        "import sys\n"
        "from curate.ledger.ledger import Ledger\n"
        "from curate.ledger.records import CallSpec, Caps, CostBound\n"
        "from curate.ledger.leases import this_process\n"
        "ledger, own = Ledger(sys.argv[1]), int(sys.argv[2])\n"
        f"for n in [*range({shared}), *range(own * 1000, own * 1000 + 30)]:\n"
        "    spec = CallSpec(f'{n:032x}', 'local', 'm', 'rationale', 'd', 0, '{}')\n"
        "    reservation = ledger.reserve(spec, CostBound('math', 'balance', 0, 100, 50), Caps(calls=60), this_process())\n"
        "    if reservation.status == 'granted':\n"
        "        ledger.record(reservation.attempt, 'raw')\n"
        "    print(n, reservation.status)\n"
    )
    Ledger(path).close()
    command = [sys.executable, "-c", code, str(path)]
    running = [subprocess.Popen([*command, str(own)], stdout=subprocess.PIPE, text=True) for own in (1, 2, 3)]
    lines = [line.split() for process in running for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in running] == [0, 0, 0]
    granted = [int(n) for n, status in lines if status == "granted"]
    assert len(granted) == len(set(granted)) == 60
    assert set(range(shared)) <= set(granted)
    assert {status for n, status in lines if int(n) < shared} <= {"granted", "answered", "busy"}
    assert Ledger(path).charged("math").calls == 60


def test_many_may_open_a_new_ledger_at_once(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from curate.ledger.ledger import Ledger\n"
        "for n in range(40):\n"
        "    while time.time() < float(sys.argv[2]) + n / 50:\n"
        "        pass\n"
        "    Ledger(Path(sys.argv[1]) / str(n) / 'ledger.sqlite').close()\n"
    )
    start = time.time() + 0.5
    opening = [subprocess.Popen([sys.executable, "-c", script, tmp_path, str(start)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in opening] == [0] * 4


# A ledger that nobody can write


@pytest.mark.parametrize("in_journal", [False, True])
def test_a_ledger_that_cannot_be_written_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_journal: bool
) -> None:
    path = tmp_path / "ledger.sqlite"
    writing = Ledger(path)
    buy(writing)
    if not in_journal:
        writing.close()
    assert (tmp_path / "ledger.sqlite-wal").exists() == in_journal
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.suffix != ".sqlite-shm"}
    monkeypatch.setattr(ledgers, "_is_read_only", lambda _: True)
    monkeypatch.setattr(ledgers, "_WAIT", 0.0)
    reading = Ledger(path)
    assert reading.charged("math") == Charged(1, 15, 7e-9)
    assert reading.find(["0" * 32])["0" * 32].raw == "raw"
    for write in (lambda: reading.sweep("math"), lambda: buy(reading, 1)):
        with pytest.raises(LedgerError, match="cannot be written, nothing was changed: make its folder writable"):
            write()
    reading.close()
    writing.close()
    if not in_journal:
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_whether_a_ledger_can_be_written_is_asked_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"
    assert not ledgers._is_read_only(path)
    path.touch()
    assert not ledgers._is_read_only(path)
    for refused in (path, tmp_path):
        monkeypatch.setattr(ledgers.os, "access", lambda asked, _, refused=refused: Path(asked) != refused)
        assert ledgers._is_read_only(path)


def test_a_ledger_that_cannot_be_opened_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers.time, "sleep", lambda _: pytest.fail("it waits for what does not change"))
    (tmp_path / "folder.sqlite").mkdir()
    (tmp_path / "text.sqlite").write_text("no database, " * 50)
    for name in ("folder", "text"):
        with pytest.raises(LedgerError, match="cannot be opened"):
            Ledger(tmp_path / f"{name}.sqlite")


def test_an_older_ledger_that_cannot_be_written_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite3.connect(tmp_path / "old.sqlite").executescript("PRAGMA user_version = 1; CREATE TABLE calls (id);").close()
    monkeypatch.setattr(ledgers, "_is_read_only", lambda _: True)
    with pytest.raises(LedgerError, match=r"has schema 1, .*: copy the root to a folder that can be written"):
        Ledger(tmp_path / "old.sqlite")


def test_a_number_beyond_the_database_is_an_error_of_ours(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="too large"):
        ledger.query("SELECT ?", (2**70,))
