"""Owns what all tests share: how hypothesis searches, and that no test reaches the user's own roots and keys."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from curate.ledger.ledger import Ledger

# No deadline: machines are shared. In continuous integration the same examples are tried every time.
settings.register_profile(
    "house", deadline=None, max_examples=40, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def _interrupts_are_heard() -> None:
    """Take Ctrl-C back: a shell that starts us in the background has us, and our children, ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the user's shell may have set."""
    for name in ("CURATE_ROOT", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Return a new ledger where a root under `tmp_path` has it."""
    return Ledger(tmp_path / "manifests" / "ledger.sqlite")
