"""Lays out the results of baldistill's verbs for a terminal: returns what rich can print, and prints nothing.

`LAYOUTS` has these and curate's, so that either program shows either's results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from curate.teachers.prices import format_usd
from curate.terminal import layouts, widgets
from curate.terminal.layouts import Layout
from curate.terminal.layouts_balance import quota_grid, rejections
from curate.terminal.widgets import accuracy, count, grid, number, seconds

__all__ = ["LAYOUTS"]

_BEST = 3  # labels of an answer that was chosen by its score
_HEAD, _TAIL, _SYNTHETIC = "cyan", "yellow", "magenta"


def _train(result: Any) -> Iterable[Any]:
    losses = result.losses
    yield from widgets.facts(
        f"trained on {count(result.rows)} rows of {result.manifest}",
        [
            ("adapter", result.adapter),
            ("steps", f"{count(result.steps)} in {seconds(result.seconds)}"),
            ("loss", f"{number(losses[0])} first, {number(losses[-1])} last" if losses else None),
            ("cut at the token limit", count(result.truncated) if result.truncated else None),
            ("left out, prompt too long", count(len(result.skipped)) if result.skipped else None),
        ],
    )


def _score(result: Any) -> Iterable[Any]:
    yield from widgets.facts(
        f"{result.manifest}: {count(result.rows)} candidates scored",
        [
            ("kind", ", ".join(f"{kind} {count(n)}" for kind, n in result.kinds.items()) or None),
            ("by", result.scored_by),
            ("had their score", count(result.already) if result.already else None),
            ("cut at the token limit", count(result.truncated) if result.truncated else None),
            ("without a score", count(len(result.unscored)) if result.unscored else None),
        ],
    )


def _evaluate(result: Any) -> Iterable[Any]:
    yield from widgets.facts(
        f"{result.student} on {count(result.rows)} {result.split} rows of {result.manifest}",
        [
            *((name, _rate(getattr(result, name))) for name in ("macro", "micro", "head", "tail")),
            *((name, ", ".join(f"{k} {number(v)}" for k, v in found.items())) for name, found in result.metrics.items()),
            (
                "cut",
                f"{count(result.truncated)} prompts, {count(result.unended)} answers"
                if result.truncated + result.unended
                else None,
            ),
            ("learned before", f"{count(result.overlap)} of these rows, or near copies" if result.overlap else None),
            ("without a clear answer", f"{count(result.unread)}, counted as wrong" if result.unread else None),
            ("chosen among labels", _scored(result) if result.scored else None),
            ("predictions", result.path),
            ("took", seconds(result.seconds)),
        ],
    )
    yield ""
    yield grid(
        ["domain", "", "rows", "right", "unclear", "accuracy", ""],
        [
            [
                line["domain"],
                "head" if line["head"] else "tail",
                count(line["n"]),
                count(line["correct"]),
                count(line["unread"]) if line["unread"] else None,
                accuracy(line["accuracy"], line["low"], line["high"]),
                widgets.Bar([(line["accuracy"], _HEAD if line["head"] else _TAIL)], 1.0, width=20),
            ]
            for line in result.domains
        ],
        left=(0, 1, 6),
    )


def _scored(result: Any) -> str:
    priors = {None: "as they are", "natural": "for the natural prior", "uniform": "for a uniform prior"}
    corrected = any(found.learned is not None for found in result.label_sets)
    by = priors.get(result.prior if corrected else None, f"for the natural prior at temperature {result.prior}")
    return f"{count(result.scored)} rows, by scores {by}"


def _rate(rate: Any) -> str | None:
    """Return a rate as text; it is an object in a fresh result and a mapping in a record."""
    if rate is None:
        return None
    read: Callable[[str], float] = rate.__getitem__ if isinstance(rate, Mapping) else lambda key: getattr(rate, key)
    return accuracy(read("value"), read("low"), read("high"))


def _run(result: Any) -> Iterable[Any]:
    yield from widgets.facts(
        f"{result.manifest}: {len(result.balanced)} stages of balance, training and evaluation",
        [("record", result.folder), ("exported", ", ".join(str(path) for path in result.exported) or None)],
    )
    yield ""
    yield from quota_grid(result.balanced, dry=False)
    yield ""
    yield _accuracies(result.stages)
    yield ""
    last = result.stages[-1]
    name = result.folder.name
    yield widgets.pairs(
        [
            ("last adapter", last.adapter or None),
            ("read its wrong answers", f"baldistill show {name} --wrong"),
            ("take it along", f"baldistill merge {name}"),
            ("put it beside other runs", "baldistill compare"),
        ]
    )
    for stage in result.balanced:
        if stage.short_by:
            yield f"stage {stage.stage}: {count(stage.short_by)} of {count(stage.budget)} slots stayed empty, as the plan allows"


def _accuracies(stages: Iterable[Any]) -> Any:
    """Return a row per stage: the snapshot that the student was trained on, its accuracies, what the stage cost."""
    columns = ["student", "snapshot", "macro", "micro", "head", "tail", "calls", "cost", "replies from the ledger"]
    rows = []
    for stage in stages:
        rates = [_rate(stage.metrics.get(name)) for name in ("macro", "micro", "head", "tail")]
        spend = stage.spend
        cost = (
            [count(spend["calls"]), format_usd(spend["usd"]) if spend["calls"] else None, count(spend["saved"])]
            if spend
            else [None] * 3
        )
        rows.append([_student(stage.index), stage.snapshot if stage.index >= 0 else None, *rates, *cost])
    return grid(columns, rows, left=(0, 1))


def _demo(result: Any) -> Iterable[Any]:
    run = result.run
    sizes = f"{count(result.before.rows)} rows, {number(result.before.imbalance_ratio)} : 1 before; "
    sizes += f"{count(result.after.rows)} rows, {number(result.after.imbalance_ratio)} : 1 after"
    yield from widgets.facts(f"{run.manifest}: {sizes}", [])
    yield _before_after(result)
    yield ""
    yield _accuracies(run.stages)
    yield ""
    cost = f"{count(result.tokens)} tokens, {format_usd(result.usd)} at the list price of {result.priced_as}"
    figures = [
        ("the teacher would have cost", cost),
        ("snapshot", run.stages[-1].snapshot),
        ("students and records", run.folder),
        ("export", ", ".join(str(path) for path in run.exported) or None),
        ("picture of the tail", result.plot),
    ]
    yield from widgets.facts("Where it is", figures)


def _before_after(result: Any) -> Any:
    """Return a row per domain: before, after by source, and what was rejected by which auditor."""
    after = {part.domain: part for part in result.after.domains}
    rejected: dict[str, Counter[str]] = {}
    for stage in result.run.balanced:
        for domain, by in stage.rejected.items():
            rejected.setdefault(domain, Counter()).update(by)
    largest = max(part.rows for part in result.before.domains)
    most = max(part.rows for part in result.after.domains)
    rows = []
    for part in result.before.domains:
        style = _HEAD if part.head else _TAIL
        now = after.get(part.domain)
        real, synthetic = (now.real, now.synthetic) if now else (0, 0)
        cells = [count(part.rows), widgets.Bar([(part.rows, style)], largest, width=16), count(real + synthetic), count(real)]
        cells += [count(synthetic), widgets.Bar([(real, style), (synthetic, _SYNTHETIC)], most, width=16)]
        rows.append([part.domain, "head" if part.head else "tail", *cells, rejections(rejected.get(part.domain))])
    columns = ["domain", "", "before", "", "after", "real", "synthetic", "", "rejected"]
    return grid(columns, rows, left=(0, 1, 3, 7, 8))


def _compare(result: Any) -> Iterable[Any]:
    columns = ["run", "student", "snapshot", "rows", "macro", "micro", "head", "tail", "calls", "cost"]
    lines = []
    for line in result.lines:
        rates = [_rate(line.metrics.get(name)) for name in ("macro", "micro", "head", "tail")]
        cost = [count(line.calls), format_usd(line.usd) if line.calls else None]
        lines.append([line.run, _student(line.stage), line.snapshot, count(line.rows), *rates, *cost])
    yield grid(columns, lines, left=(0, 1, 2))
    if result.differing:
        yield f"these figures do not compare, since they were measured on different rows: {'; '.join(result.differing)}"


def _methods(result: Any) -> Iterable[Any]:
    """A row per method with its means over seeds, then the differences in words, and what is not done."""
    shares = ", ".join(f"{n} {group}" for group, n in result.groups.items())
    yield from widgets.facts(
        f"{result.grid}: {result.done} of {result.cells} cells, on {count(result.test_rows)} {result.split} rows",
        [("manifest", result.manifest), ("domains", shares), ("plot", result.figure), ("record", result.record)],
    )
    yield ""
    names = [
        name for name in ("macro", "micro", "head", "middle", "tail", "macro_f1", "micro_f1") if name in result.lines[0].figures
    ]
    settings = {line.budget for line in result.lines if line.budget is not None}
    columns = [
        "method",
        *(name.replace("_f1", " F1") for name in names),
        "stages",
        "seeds",
        "rows",
        "synthetic",
        "replies",
        "charged",
    ]
    rows = []
    for line in result.lines:
        title = line.title if len(settings) < 2 or line.budget is None else f"{line.title}, {count(line.budget)} rows"
        figures = [f"{100 * line.figures[name].value:.1f}" for name in names]
        if line.budget is None:
            rows.append([title, *figures, *[None] * 6])
        else:
            told = [line.stages, len(line.seeds), round(line.rows), round(line.synthetic), round(line.replies)]
            rows.append([title, *figures, *map(count, told), format_usd(line.usd)])
    yield grid(columns, rows, left=(0,))
    yield ""
    yield "Means over seeds, in per cent. Head: the largest domains that hold half of the train rows. Tail: those with fewer rows"
    yield "than an even share of the budget. Replies: of the teacher, charged or from the ledger, for one seed."
    if result.sentences:
        yield ""
        yield from result.sentences
    if result.failed:
        yield ""
        yield from (f"{name} has no result: {why}" for name, why in result.failed.items())


def _answers(result: Any) -> Iterable[Any]:
    """Each answer as a person reads it: the question, the right answer, what the student wrote and what was read in it."""
    here = len(result.answers)
    share = f"{count(result.correct)} of {count(result.asked)} {result.split} answers are right"
    which = f"{count(result.matched)} match, {count(here)} shown" if here < result.matched else f"{count(here)} shown"
    yield from widgets.facts(f"{result.student}: {share}; {which}", [])
    for at, answer in enumerate(result.answers, 1):
        yield ""
        yield widgets.rule(f"{count(at)} of {count(here)}: {answer['domain']}, {'right' if answer['correct'] else 'wrong'}")
        yield ""
        yield answer["prompt"] or ""
        yield ""
        read = answer["prediction"]
        scores = sorted(zip(answer["labels"] or (), answer["scores"] or (), strict=True), key=lambda pair: -pair[1])[:_BEST]
        yield widgets.pairs(
            [
                ("right answer", answer["answer"]),
                ("read as", "no clear answer" if read is None else read),
                ("output", answer["output"] or None),
                ("likeliest", ", ".join(f"{label} {score:.2f}" for label, score in scores) or None),
                ("cut", None if answer["ended"] in (True, None) else "at the token limit"),
                ("id", answer["id"]),
            ]
        )
    if here < result.matched:
        yield ""
        yield f"--n {min(10 * here, result.matched)} shows more"


def _merge(result: Any) -> Iterable[Any]:
    what = "its adapter" if result.adapter_only else "full weights"
    pushed = result.pushed
    yield from widgets.facts(
        f"{result.student}: {what}, {count(len(result.files))} files, {widgets.size(result.size)}",
        [
            ("base", result.base),
            ("licence", result.licence or "not known: look it up before you share this"),
            ("written", result.folder),
            *([] if pushed is None else _pushed(pushed)),
        ],
    )
    if pushed is not None and pushed.dry_run:
        yield from ("", widgets.Verbatim(pushed.card if pushed.card.endswith("\n") else f"{pushed.card}\n"))
    if pushed is None and not result.adapter_only:
        yield ""
        yield f"vllm serve {result.folder}"


def _pushed(pushed: Any) -> list[tuple[str, Any]]:
    who = "private" if pushed.private else "public: everybody sees it"
    if pushed.dry_run:
        done = "nothing, this is a dry run"
    else:
        done = f"commit {pushed.revision}" if pushed.committed else "nothing: all of it is there already"
    return [("repository", f"{pushed.url} ({who})"), ("pushed", done), ("load it", None if pushed.dry_run else pushed.load)]


def _student(stage: int) -> str:
    return "base" if stage < 0 else f"after stage {stage}"


LAYOUTS: Mapping[str, Layout] = {
    **layouts.LAYOUTS,
    "baldistill.runs.compare:CompareResult": _compare,
    "baldistill.demo:DemoResult": _demo,
    "baldistill.evaluation.evaluate:EvaluateResult": _evaluate,
    "baldistill.runs.pipeline:RunResult": _run,
    "baldistill.runs.methods:MethodsResult": _methods,
    "baldistill.evaluation.score:ScoreResult": _score,
    "baldistill.share.merge:MergeResult": _merge,
    "baldistill.share.show:AnswersResult": _answers,
    "baldistill.training.train:TrainResult": _train,
}
