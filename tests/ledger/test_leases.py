import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate.ledger import leases


def test_this_process_is_alive_as_long_as_its_lease() -> None:
    assert leases.is_alive(leases.this_process(), lease=10.0, now=5.0)
    assert not leases.is_alive(leases.this_process(), lease=10.0, now=10.0)


def test_a_process_that_ended_is_dead_whatever_its_lease() -> None:
    code = "from curate.ledger import leases; print(leases.this_process())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert not leases.is_alive(ended, lease=10.0, now=0.0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_process_that_ended_and_was_not_waited_for_is_dead() -> None:
    code = "from curate.ledger import leases; print(leases.this_process(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        name = child.stdout.readline().strip()
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert not leases.is_alive(name, lease=10.0, now=0.0)


def test_a_number_used_again_is_another_process() -> None:
    host, pid, started = json.loads(leases.this_process())
    other = json.dumps([host, pid, started.rpartition(":")[0] + ":12345"])
    assert not leases.is_alive(other, lease=10.0, now=0.0)


def test_a_process_of_another_container_or_boot_is_not_looked_for() -> None:
    host, _, started = json.loads(leases.this_process())
    other = json.dumps([host, 2**22 + 1, "elsewhere:" + started.rpartition(":")[2]])  # no process here has that number
    assert leases.is_alive(other, lease=10.0, now=5.0)
    assert not leases.is_alive(other, lease=10.0, now=15.0)


def test_a_lease_from_before_the_clock_was_set_back_has_run_out() -> None:
    other = json.dumps([socket.gethostname() + "-other", 1, ""])
    assert not leases.is_alive(other, lease=1e9 + 86400, now=1e9)


class Steady:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_who_is_there_is_not_gone_because_the_clock_jumped() -> None:
    steady = Steady()
    watch = leases.LeaseMonitor(30.0, steady)
    assert not watch.is_gone(1, leases.this_process(), lease=10.0, now=1e6)  # the clock has jumped forward
    steady.now = 29.0
    assert not watch.is_gone(1, leases.this_process(), lease=10.0, now=1e6)
    assert not watch.is_gone(1, leases.this_process(), lease=1e6 + 60, now=1e6)  # it has lengthened its lease
    steady.now = 100.0
    assert not watch.is_gone(1, leases.this_process(), lease=1e6 + 60, now=2e6)  # and again
    steady.now = 131.0
    assert watch.is_gone(1, leases.this_process(), lease=1e6 + 60, now=2e6)  # it is there and does not work on this any more


def test_who_is_not_there_is_gone_at_once() -> None:
    host, pid, started = json.loads(leases.this_process())
    watch = leases.LeaseMonitor(30.0)
    assert watch.is_gone(1, json.dumps([host, pid, started.rpartition(":")[0] + ":12345"]), lease=10.0, now=5.0)
    assert watch.is_gone(2, json.dumps([host + "-other", pid, started]), lease=10.0, now=15.0)


def test_of_another_machine_only_the_lease_is_known() -> None:
    other = json.dumps([socket.gethostname() + "-other", os.getpid(), "0"])
    assert leases.is_alive(other, lease=10.0, now=5.0)
    assert not leases.is_alive(other, lease=10.0, now=15.0)
