import json
import os
import socket
import subprocess
import sys

from curate import owners


def test_this_process_is_alive_as_long_as_its_lease() -> None:
    assert owners.is_alive(owners.this_process(), lease=10.0, now=5.0)
    assert not owners.is_alive(owners.this_process(), lease=10.0, now=10.0)


def test_a_process_that_ended_is_dead_whatever_its_lease() -> None:
    code = "from curate import owners; print(owners.this_process())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert not owners.is_alive(ended, lease=1e12, now=0.0)


def test_a_number_used_again_is_another_process() -> None:
    host, pid, _ = json.loads(owners.this_process())
    assert not owners.is_alive(json.dumps([host, pid, "12345"]), lease=1e12, now=0.0)


def test_of_another_machine_only_the_lease_is_known() -> None:
    other = json.dumps([socket.gethostname() + "-other", os.getpid(), "0"])
    assert owners.is_alive(other, lease=10.0, now=5.0)
    assert not owners.is_alive(other, lease=10.0, now=15.0)
