"""Lays out the results with a line per domain: a profile, a balance, a selection. Prints nothing."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from curate.teachers.prices import format_usd
from curate.terminal import layouts_costs, widgets
from curate.terminal.widgets import ABSENT, count, grid, number, share

__all__ = ["asked", "balanced", "estimate_remarks", "per_written", "profile", "quota_grid", "rejections", "selected"]

_LINES = 500  # domains of a table; a screen of more takes longer than the work
_KINDS, _NAMED = 4, 4  # kinds of answers that a profile lists, and domains that it names for each
_HEAD, _TAIL, _SYNTHETIC = "cyan", "yellow", "magenta"
_SHARED = "a row counts for each of its labels"


def profile(result: Any) -> Iterable[Any]:
    """Return the layout of a `curate.report.profile.Profile`."""
    by_cluster = result.by == "cluster"
    noun = "clusters" if by_cluster else "domains"
    rows = f"{count(result.rows)} {_row_words(result)} in {count(len(result.domains))} {noun}"
    effective = f"{number(result.effective_domains)} of {count(len(result.domains))}"
    figures = [
        ("imbalance ratio", f"{number(result.imbalance_ratio)} : 1"),
        ("Gini", f"{number(result.gini)} (0 is balanced)"),
        ("entropy", f"{number(result.entropy)} of its maximum (effective {noun}: {effective})"),
        ("characters", _lengths(result.chars)),
        ("tokens", _token_words(result)),
        ("rows that are empty", count(result.empty)),
        ("that repeat a prompt", count(result.duplicates)),
        ("in another split too", count(result.overlap)),
        ("splits", ", ".join(f"{split} {count(n)}" for split, n in result.splits.items())),
        ("selected in", _stages(result.stages) or None),
        *(
            ("answers are" if at == 0 else "", _kind_words(kind, len(result.kinds)))
            for at, kind in enumerate(result.kinds[:_KINDS])
        ),
        ("several labels", f"{count(result.several)} rows; {_SHARED}" if result.several and not by_cluster else None),
    ]
    yield from widgets.facts(f"{result.manifest}: {rows}", figures)
    yield ""
    yield _profile_bars(result, by_cluster)
    if not result.is_listed:
        yield f"the largest and the smallest {noun} by name, the others by rank; --json has every one"


def _kind_words(kind: Any, kinds: int) -> str:
    """Say what one kind of answers is and why, and whose it is where there are several."""
    classes = f" of {count(kind.classes)} classes" if kind.kind == "label" else ""
    task = "each row by its own" if kind.how == "mixed" else kind.task
    return f"{kind.kind}{classes} ({task}), since {kind.why}" + (f": {_names(kind.domains)}" if kinds > 1 else "")


def _names(domains: Sequence[str]) -> str:
    others = len(domains) - _NAMED
    return ", ".join(domains[:_NAMED]) + (f" and {count(others)} more domains" if others > 0 else "")


def asked(kinds: Sequence[Any], name: str) -> Iterable[Any]:
    """Lay out what a teacher would be asked for in which domains, and why that.

    Args:
        kinds: each a `curate.balance.results.AskedKind`.
        name: of the manifest.
    """
    if not kinds:
        return
    lines = [
        (
            "each row by its own kind" if kind.how == "mixed" else kind.task,
            count(kind.rationales) if kind.rationales else "",
            count(kind.examples) if kind.examples else "",
            _names(kind.domains),
            kind.why,
        )
        for kind in kinds[:_LINES]
    ]
    yield ""
    yield grid(["asked as", "rationales", "new examples", "domains", "since"], lines, left=(0, 3, 4))
    yield f"if that is the wrong question, say another kind: curate profile {name} --kind DOMAIN=KIND"


def _row_words(result: Any) -> str:
    return " ".join(word for word in ("" if result.split == "all" else result.split, result.status or "", "rows") if word)


def _lengths(lengths: Any) -> str | None:
    return None if lengths is None else f"p50 {count(lengths.p50)}   p95 {count(lengths.p95)}   max {count(lengths.max)}"


def _token_words(result: Any) -> str | None:
    if result.tokens is None:
        return None
    missing = f"   not counted {count(result.uncounted)}" if result.uncounted else ""
    return f"{_lengths(result.tokens)}   above {count(result.max_tokens)}: {count(result.too_long)}{missing}"


def _stages(stages: Iterable[Any]) -> str:
    return ", ".join(f"stage {s.stage}: {count(s.real)} real + {count(s.synthetic)} synthetic" for s in stages)


def _profile_bars(result: Any, by_cluster: bool) -> Any:
    """Return a line per part, or per range of ranks where there are many; a column that would say nothing is left out."""
    largest = max(part.rows for part in result.domains)
    partly_selected = any(part.selected for part in result.domains) and any(part.selected != part.rows for part in result.domains)
    columns: list[tuple[str, bool, bool, Callable[[Any], Any]]] = [  # heading, shown, to the left, cell of a range of ranks
        ("domain", True, True, _range_name),
        ("cluster", by_cluster, False, lambda ranks: ranks.parts[0].cluster if len(ranks.parts) == 1 else ""),
        ("", True, True, lambda ranks: "/".join(dict.fromkeys("head" if part.head else "tail" for part in ranks.parts))),
        ("rows", True, False, lambda ranks: _total(ranks, "rows")),
        ("share", True, False, lambda ranks: share(sum(part.share for part in ranks.parts))),
        ("cumulative", True, False, lambda ranks: share(ranks.parts[-1].cumulative)),
        ("", True, True, lambda ranks: _bar(ranks.parts[0], largest) if len(ranks.parts) == 1 else ""),
        ("selected", partly_selected, False, lambda ranks: _total(ranks, "selected")),
        ("synthetic", any(part.synthetic for part in result.domains), False, lambda ranks: _total(ranks, "synthetic")),
        ("rejected", any(part.rejected for part in result.domains), False, lambda ranks: _total(ranks, "rejected")),
        ("characters", True, False, lambda ranks: _quantiles(ranks, "chars")),
        ("tokens", result.tokens is not None, False, lambda ranks: _quantiles(ranks, "tokens")),
    ]
    shown = [column for column in columns if column[1]]
    lines = [[cell(ranks) for _, _, _, cell in shown] for ranks in result.by_rank()]
    left = [position for position, column in enumerate(shown) if column[2]]
    return grid([heading for heading, *_ in shown], lines, left=left)


def _range_name(ranks: Any) -> str:
    if len(ranks.parts) == 1:
        return ranks.parts[0].domain or "(none)"
    most, least = ranks.parts[0].rows, ranks.parts[-1].rows
    each = f"{count(most)} to {count(least)} rows" if most > least else f"{count(most)} rows" if most > 1 else "1 row"
    return f"… ranks {count(ranks.first)} to {count(ranks.last)}, {each} each"


def _total(ranks: Any, name: str) -> str:
    return count(sum(getattr(part, name) for part in ranks.parts))


def _bar(part: Any, largest: int) -> Any:
    return widgets.Bar([(part.real, _HEAD if part.head else _TAIL), (part.synthetic, _SYNTHETIC)], largest)


def _quantiles(ranks: Any, name: str) -> str | None:
    """Return p50, p95 and max of a part's lengths; nothing for several parts."""
    if len(ranks.parts) > 1:
        return ""
    lengths = getattr(ranks.parts[0], name)
    return None if lengths is None else f"{count(lengths.p50)} / {count(lengths.p95)} / {count(lengths.max)}"


def balanced(result: Any) -> Iterable[Any]:
    """Return the layout of a `curate.balance.results.BalanceResult`."""
    dry = any(stage.version is None for stage in result.stages)
    stages = "1 stage" if len(result.stages) == 1 else f"{len(result.stages)} stages"
    rows = count(sum(stage.budget for stage in result.stages))
    rows = rows if rows == count(result.budget) else f"{rows} of {count(result.budget)}"
    yield from widgets.facts(f"{result.manifest}: {'plan for ' if dry else ''}{rows} rows, {stages}", [])
    yield from quota_grid(result.stages, dry=dry)
    done, planned = [[s for s in result.stages if (s.version is None) is to_come] for to_come in (False, True)]
    if done:
        yield ""
        yield _stage_grid(done, dry=False)
    if planned and (result.asks or any(stage.estimate.examples for stage in planned)):
        yield ""
        if not result.asks:
            yield "no --teacher: nothing will be sent; filling the missing rows with a teacher would take:"
        yield _stage_grid(planned, dry=True)
        yield from asked(_over_stages(planned), result.manifest.name)
    yield from estimate_remarks([stage.estimate for stage in result.stages if stage.estimate is not None])
    for stage in result.stages:
        yield from _stage_remarks(stage)
    if result.undone:
        yield f"undone, run them again: stages {', '.join(map(str, result.undone))}"
    if result.short_by:
        way = "give it a teacher that fills them, a larger --max-attempts, or a smaller --budget"
        way = way if result.complete else "raise the cap, or mend what failed, and run the same command again"
        yield f"{count(result.short_by)} of {rows} slots stay empty, so this ends with exit status 4: {way}"


def _over_stages(stages: Iterable[Any]) -> list[Any]:
    """Return what would be asked for over all stages, the kind of most replies first."""
    found: dict[tuple[Any, ...], Any] = {}
    for each in (each for stage in stages for each in stage.asked):
        key = (each.kind, each.task, each.how, each.why)
        one = found.get(key, dataclasses.replace(each, domains=(), rationales=0, examples=0))
        domains = tuple(sorted({*one.domains, *each.domains}))
        sums = {name: getattr(one, name) + getattr(each, name) for name in ("rationales", "examples")}
        found[key] = dataclasses.replace(one, domains=domains, **sums)
    return sorted(found.values(), key=lambda each: -(each.rationales + each.examples))


def quota_grid(stages: Iterable[Any], *, dry: bool) -> Iterable[Any]:
    """Lay out what each domain was planned to get and what it got, over the stages."""
    sums = _sums(stages)
    domains = sorted(sums.wanted, key=lambda d: (-sums.wanted[d], d))[:_LINES]
    if dry:
        missing = {d: sums.wanted[d] - sums.planned[d] for d in domains}
        rows: list[list[Any]] = [
            [d, count(sums.wanted[d]), count(sums.planned[d]), count(missing[d]) if missing[d] > 0 else ""] for d in domains
        ]
        total = ["all", count(sums.wanted.total()), count(sums.planned.total()), ""]
        yield grid(["domain", "wanted", "planned", "missing"], rows, total=total)
        yield from _more_domains(len(sums.wanted))
        return
    largest = max([*sums.achieved.values(), 1])
    rows = []
    for d in domains:
        cells = [count(n) for n in (sums.wanted[d], sums.planned[d], sums.achieved[d], sums.real[d], sums.synthetic[d])]
        blocks = widgets.Bar([(sums.real[d], _HEAD), (sums.synthetic[d], _SYNTHETIC)], largest, width=20)
        rows.append([d, *cells, blocks, rejections(sums.rejected.get(d))])
    totals = (sums.wanted, sums.planned, sums.achieved, sums.real, sums.synthetic)
    every: Counter[str] = sum(sums.rejected.values(), Counter())
    columns = ["domain", "wanted", "planned", "got", "real", "synthetic", "", "rejected"]
    yield grid(columns, rows, left=(0, 6, 7), total=["all", *(count(each.total()) for each in totals), "", rejections(every)])
    yield from _more_domains(len(sums.wanted))


@dataclasses.dataclass(frozen=True)
class _Sums:
    """What the stages come to per domain."""

    wanted: Counter[str]
    planned: Counter[str]
    achieved: Counter[str]
    real: Counter[str]
    synthetic: Counter[str]
    rejected: dict[str, Counter[str]]


def _sums(stages: Iterable[Any]) -> _Sums:
    sums = _Sums(Counter(), Counter(), Counter(), Counter(), Counter(), {})
    for stage in stages:
        sums.wanted.update(stage.quotas.wanted)
        sums.planned.update(stage.quotas.planned)
        sums.achieved.update(stage.achieved)
        sums.synthetic.update(stage.synthetic)
        sums.real.update({d: n - stage.synthetic.get(d, 0) for d, n in stage.achieved.items()})
        for domain, by in stage.rejected.items():
            sums.rejected.setdefault(domain, Counter()).update(by)
    return sums


def rejections(by: Mapping[str, int] | None) -> str:
    """Return which auditor rejected how often, in words."""
    return ", ".join(f"{auditor} {count(n)}" for auditor, n in sorted((by or {}).items()))


def _stage_grid(stages: Iterable[Any], *, dry: bool) -> Any:
    if dry:
        columns = ["stage", "rows", "rationales", "new examples", "calls", "tokens", "cost"]
        rows = [
            [*map(count, (s.stage, s.budget, e.rationales, e.examples)), _range(e, "calls"), _range(e, "tokens"), _cost(e)]
            for s in stages
            if (e := s.estimate) is not None
        ]
        return grid(columns, rows)
    columns = ["stage", "version", "rows", "got", "calls", "tokens", "cost", "from the ledger", ""]
    rows = [
        [
            s.stage,
            s.version,
            *map(count, (s.budget, s.n_rows, s.calls, s.tokens)),
            _price(s),
            count(s.saved),
            _state(s),
        ]
        for s in stages
    ]
    return grid(columns, rows, left=(0, 8))


def _range(estimate: Any, unit: str) -> str:
    return layouts_costs.estimated(estimate, unit).replace(f" {unit}", "")


def _cost(estimate: Any) -> str:
    return ABSENT if not estimate.calls else layouts_costs.estimated(estimate, "usd")


def _price(spend: Any) -> str:
    return ABSENT if not spend.calls else format_usd(spend.usd)


def _state(stage: Any) -> str:
    if stage.reused:
        return "already done"
    return "" if stage.complete else "stopped early"


def per_written(result: Any) -> str | None:
    """Return what one accepted new example cost, in words; None where nothing was written."""
    if result.tokens_per_written is None:
        return None
    return f"{count(round(result.tokens_per_written))} tokens, {format_usd(result.usd_per_written)}, rejected replies included"


def estimate_remarks(estimates: list[Any]) -> Iterable[str]:
    """Return remarks on the ranges of a dry run: what they are, and what they are based on."""
    if not any(estimate.calls for estimate in estimates):
        return
    replies = max(estimate.replies for estimate in estimates)
    basis = f"from {count(replies)} replies of this model" if replies else "wide, since no reply of this model is known yet"
    yield f"in brackets: 90% range, {basis}; replies that are already in the ledger are free"
    if day := next((estimate.priced_on for estimate in estimates if estimate.priced_on), ""):
        yield f"at the list prices of {day}; prices.toml beside manifests/ overrides them"


def _stage_remarks(stage: Any) -> Iterable[str]:
    if sum(stage.achieved.values()) > stage.n_rows:
        slots = f"{count(stage.n_rows)} rows count as {count(sum(stage.achieved.values()))}"
        yield f"stage {stage.stage}: {_SHARED}, so {slots}"
    if stage.written and not stage.reused:
        yield f"stage {stage.stage}: {count(stage.written)} new examples accepted, each at {per_written(stage)}"
    if stage.reckoned is not None and stage.reckoned.estimate.calls:
        yield layouts_costs.compared(stage.reckoned)
    if stage.unanswered:
        yield f"stage {stage.stage}: the recording had no answer for {count(stage.unanswered)} requests"
    if stage.moved:
        yield f"stage {stage.stage}: {_moved(stage.moved)}"
    if stage.saved and stage.calls and not stage.reused:
        yield f"stage {stage.stage}: only the calls of this command are counted; curate ledger shows all"
    if not stage.complete:
        yield f"stage {stage.stage}: stopped by a cap or failed calls; what was bought is kept, run the same command to continue"


def _moved(moved: Mapping[str, int]) -> str:
    """Return in words which domains could not fill their slots, and which got those slots."""
    given = ", ".join(f"{domain} {n:+d}" for domain, n in sorted(moved.items()))
    empty = -sum(moved.values())
    if all(n < 0 for n in moved.values()):
        return f"{count(empty)} slots stay empty, since no domain could fill them: {given}"
    left = f"; {count(empty)} stay empty" if empty else ""
    return f"slots moved to other domains, since some could not fill theirs: {given}{left}"


def selected(result: Any) -> Iterable[Any]:
    """Return the layout of a `curate.selection.select.SelectResult`."""
    if result.compared:
        yield from _comparison(result)
        return
    title = f"{result.manifest}: {count(result.rows)} rows selected by {result.selector}"
    missing = f"{count(sum(result.short.values()))} slots: too few candidates" if result.short else None
    shared = sum(result.chosen.values()) - result.rows
    counted = f"{_SHARED}, so {count(result.rows)} rows count as {count(result.rows + shared)}" if shared > 0 else None
    yield from widgets.facts(title, [("left empty", missing), ("several labels", counted)])
    yield ""
    lines = [
        (domain, count(n), count(result.already[domain]), count(result.short.get(domain, 0)))
        for domain, n in itertools.islice(result.chosen.items(), _LINES)
    ]
    yield grid(["domain", "selected now", "before", "missing"], lines)
    yield from _more_domains(len(result.chosen))


def _more_domains(n: int) -> Iterable[str]:
    """Say how many domains a table leaves out."""
    return [f"  and {count(n - _LINES)} more domains; --json has them all"] if n > _LINES else []


def _comparison(result: Any) -> Iterable[Any]:
    """Lay out one line per selector, best coverage first, and how many rows any two of them share."""
    ((domain, before),) = result.already.items()
    lines = sorted(result.compared, key=lambda line: (line.coverage, line.selector))
    title = f"{result.manifest}: {count(result.n)} rows of {domain} by each selector; nothing was written"
    yield from widgets.facts(title, [("selected before", count(before) if before else None)])
    yield ""
    columns = ["selector", "coverage", "farthest", "diversity", "mean score", "seconds"]
    figures = [(line, line.spread or (None, None, None)) for line in lines]
    yield grid(
        columns,
        [
            (
                line.selector,
                _spread(line.coverage, spread[0], 4),
                _spread(line.farthest, spread[1], 3),
                _spread(line.diversity, spread[2], 1),
                number(line.score),
                f"{line.seconds:.2f}",
            )
            for line, spread in figures
        ],
    )
    yield ""
    yield "coverage: mean distance (1 - cosine) of the domain's rows to the nearest chosen one, less is better"
    yield "farthest: the largest of these distances; diversity: Vendi score of the chosen rows, more is better"
    yield "random: mean of ten draws ± their standard deviation; a selector that is not better than this is not worth using"
    if all(line.score is None for line in lines):
        yield "no candidate here has a difficulty score, so selectors by score fall back to random"
    yield ""
    names = [line.selector for line in lines]
    cells = [
        (f"{place} {line.selector}", *(_percent(line.overlap.get(other)) for other in names))
        for place, line in enumerate(lines, 1)
    ]
    yield grid(["rows in common, %", *map(str, range(1, len(lines) + 1))], cells)


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{100 * value:.0f}"


def _spread(value: float, deviation: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation is not None else "")
