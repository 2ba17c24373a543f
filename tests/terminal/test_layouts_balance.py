"""Tables with a line per domain stay readable however many domains there are."""

from types import SimpleNamespace
from typing import Any

from rich.console import Console

from curate.balance.results import StageResult
from curate.selection.base import Quotas
from curate.terminal.layouts_balance import quota_grid, selected

DOMAINS = {f"domain {n:04}": 1 for n in range(502)}


def text(parts: Any) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        for part in parts:
            console.print(part, markup=False)
    return captured.get()


def test_many_domains_are_cut_and_that_is_said() -> None:
    chosen = SimpleNamespace(
        manifest="m@1", compared=(), rows=502, selector="random", chosen=DOMAINS, already=dict.fromkeys(DOMAINS, 0), short={}
    )
    stage = StageResult(0, 1, 502, Quotas(DOMAINS, DOMAINS, 502), DOMAINS, {}, {}, {})
    for shown in (text(selected(chosen)), text(quota_grid([stage], dry=False)), text(quota_grid([stage], dry=True))):
        assert "domain 0499" in shown
        assert "domain 0500" not in shown
        assert "and 2 more domains; --json has them all" in shown
