"""Runs a plan: K stages of balance → snapshot → train → evaluate → score in one loop, which continues where it stopped.

The last thing that a step writes marks it as done: a commit in the manifest, or a JSON file in the run's folder that holds its
inputs. A step whose inputs are the same is not done again. Nothing that steers the next stage reads test rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from baldistill.evaluation import evaluate, score
from baldistill.runs.plan import ALLOW_SHORT, Plan
from baldistill.student import adapters
from baldistill.training import train
from curate import models, progress
from curate.balance import balance
from curate.balance.results import StageResult
from curate.defaults import DEFAULT_STUDENT
from curate.errors import InputError
from curate.export import export
from curate.files import runs_folder, write_whole
from curate.manifest.folders import former_names
from curate.manifest.manifest import Manifest, load
from curate.report.runs import RECORD, TRAINING, evaluation_folder, version_identity
from curate.selection import sample
from curate.selection.policies import uses_metrics
from curate.sources import ingest
from curate.vectors import cluster

__all__ = ["RunResult", "Stage", "prepare", "run", "write_json"]


@dataclass(frozen=True)
class Stage:
    """One line of a run's record.

    Attributes:
        index: from 0; -1 is the base student, before any stage.
        snapshot: ``name@version`` that the student was trained on.
        quotas: wanted and planned rows per domain.
        achieved: rows accepted per domain; a row of several labels counts in each.
        spend: calls, tokens and usd charged, and replies taken from the ledger.
        adapter: where the trained adapter is, relative to the root.
        metrics: of `baldistill.evaluation.evaluate.evaluate`.
        rows: rows accepted, each once; 0 of the base student.
    """

    index: int
    snapshot: str
    quotas: dict[str, Any]
    achieved: dict[str, int]
    spend: dict[str, Any]
    adapter: str
    metrics: dict[str, Any]
    rows: int = 0


@dataclass(frozen=True)
class RunResult:
    """The results of a run.

    Attributes:
        manifest: the newest version.
        folder: where the record, adapters and metrics are.
        stages: the base student, then one line per stage.
        balanced: the result of each stage's `balance`, in order.
        exported: paths that were exported.
    """

    manifest: Manifest
    folder: Path
    stages: tuple[Stage, ...]
    balanced: tuple[StageResult, ...]
    exported: tuple[Path, ...]


def run(plan: Plan, *, root: str | Path | None = None) -> RunResult:
    """Run a plan: prepare the manifest, then K stages, then the export.

    Args:
        plan: one table per verb, see `baldistill.runs.plan`.
        root: the folder that holds ``manifests/`` and ``cache/``.

    Raises:
        CurateError: a step failed; what was done stands, and the same call continues from there.

    The loop is Algorithm 1 of Zhou et al. 2024 (arXiv 2406.13114): every stage trains a fresh student from the base model on
    all rows chosen so far.
    """
    models.check_one_process()
    models.check_one_gpu()
    current = prepare(plan, root)
    folder = runs_folder(current.root) / plan.name
    n_stages = int(plan.parameters("balance").get("stages", 1))
    if not all((folder / f"stage-{index}" / TRAINING).exists() for index in range(n_stages)):
        train.rehearse(current, **plan.parameters("train"))  # before anything is paid
    folder.mkdir(parents=True, exist_ok=True)
    needs_metrics = _needs_metrics(plan, current)
    base = _evaluate(plan, folder, "base", current, adapter=None)
    lines, balanced = [Stage(-1, str(current), {}, {}, {}, "", base)], []
    results: dict[str, Any] | None = None
    if plan.parameters("score").get("proxy") is not None:  # it needs no trained student, so the first stage has scores too
        current = _score(plan, folder, "base", Manifest(current.name, 0, current.root), current, None)
    scored = False
    for index in range(n_stages):
        progress.note("run", f"stage {index + 1} of {n_stages}")
        outcome = balance.balance(current, **plan.parameters("balance"), stage=index, metrics=results)
        result = outcome.stages[0]
        if scored and result.reused:
            progress.note(
                "run",
                f"stage {index} was chosen with earlier scores and is kept; to choose again, give the plan another manifest",
            )
        _check_short(plan, index, result)
        snapshot = Manifest(current.name, result.version if result.version is not None else -1, current.root)
        adapter = _train(plan, folder, f"stage-{index}", snapshot)
        metrics = _evaluate(plan, folder, f"stage-{index}", snapshot, adapter=adapter)
        if needs_metrics and index + 1 < n_stages:
            results = _evaluate(plan, folder, f"stage-{index}", snapshot, adapter=adapter, split="validation")
        current = load(current.name, root=current.root)
        if index + 1 < n_stages:
            before = current.version
            current = _score(plan, folder, f"stage-{index}", snapshot, current, adapter)
            scored = current.version > before
        balanced.append(result)
        lines.append(_line(index, snapshot, result, adapter, metrics))
        write_json(folder / RECORD, [asdict(line) for line in lines])
    exported = export.export(current, **plan.parameters("export")).paths if "export" in plan else ()
    return RunResult(current, folder, tuple(lines), tuple(balanced), tuple(exported))


def _check_short(plan: Plan, index: int, result: StageResult) -> None:
    """Train on no stage in silence that is not what the plan asks for.

    Raises:
        InputError: a cap or failed calls stopped the stage, or slots stay empty, and the plan does not allow it.
    """
    if result.complete and not result.short_by:
        return
    empty = f"{result.short_by:,} of its {result.budget:,} slots are empty"
    if result.complete:
        found, way = f"stage {index} could not be filled: {empty}", "give [balance] a teacher that fills them or a smaller budget"
    else:
        found, way = f"stage {index} stopped before it was full, at a cap or failed calls: {empty}", "raise the cap"
    if not plan.allow_short:
        raise InputError(
            f"{found}, so no student is trained on it; what was bought is kept: {way} and run the plan again, or say "
            f"{ALLOW_SHORT} = true at the top of the plan to train on what is there"
        )
    progress.note("run", f"{found}; {ALLOW_SHORT} = true: a student is trained on what is there")


def prepare(plan: Plan, root: str | Path | None) -> Manifest:
    """Ingest, sample and cluster where the plan has a table for it; what was done before is not done again."""
    if "ingest" in plan:
        options = plan.parameters("ingest")
        current = ingest.ingest(options.pop("sources"), **options, to=plan.manifest, root=root).manifest
    else:
        current = load(plan.manifest, root=root)
    done = {commit.verb for commit in current.lineage()}
    if "sample" in plan and "sample" not in done:
        current = sample.sample(current, **plan.parameters("sample")).manifest
    if "cluster" in plan and not done & {"cluster", "balance"}:
        current = cluster.cluster(current, **plan.parameters("cluster")).manifest
    return current


def _train(plan: Plan, folder: Path, name: str, snapshot: Manifest) -> Path:
    """Train on a snapshot, or return the adapter that was trained on it with the same parameters."""
    adapter = folder / name / "adapter"
    table = plan.parameters("train")

    def work() -> dict[str, Any]:
        trained = train.train(snapshot, **table, output=adapter)
        return {"steps": trained.steps, "losses": trained.losses, "rows": trained.rows, "seconds": trained.seconds}

    if adapter.exists() and not adapters.is_whole(adapter):
        (folder / name / TRAINING).unlink(missing_ok=True)
    _once(folder / name / TRAINING, snapshot, {"snapshot": version_identity(snapshot), "parameters": table}, work)
    return adapter


def _needs_metrics(plan: Plan, current: Manifest) -> bool:
    """Return whether the policy uses the students' results on validation rows.

    Raises:
        InputError: it does, and there are no validation rows.
    """
    policy = plan.parameters("balance").get("policy", "adaptive")
    if not uses_metrics(policy):
        return False
    if current.rows("split", "status").filter(pl.col("status") != "rejected", split="validation").is_empty():
        raise InputError(
            f"policy {policy!r} uses the student's results on validation rows, and {current} has none; ingest some, or carve "
            "them out of the train rows: [ingest] holdout = 0.05"
        )
    return True


def _evaluate(
    plan: Plan, folder: Path, name: str, snapshot: Manifest, *, adapter: Path | None, split: str | None = None
) -> dict[str, Any]:
    """Evaluate a student on held-out rows, of the plan's split or of another; the base student is measured once per plan."""
    table = {"budget": plan.parameters("balance").get("budget"), **plan.parameters("evaluate")}
    asked = split is not None and split != table.get("split", "test")
    table |= {"split": split} if asked else {}
    learned = version_identity(snapshot) if adapter is not None else None
    inputs = {"learned": learned, "train": plan.parameters("train"), "parameters": table, "rows": snapshot.name}

    def work() -> dict[str, Any]:
        student = plan.parameters("train").get("student", DEFAULT_STUDENT)
        output = evaluation_folder(folder / name, split if asked else None)
        return evaluate.evaluate(snapshot, **{"student": student, **table}, adapter=adapter, output=output).to_dict()

    return _once(folder / name / (f"evaluate-{split}.json" if asked else "evaluate.json"), snapshot, inputs, work)


def _score(plan: Plan, folder: Path, name: str, snapshot: Manifest, current: Manifest, adapter: Path | None) -> Manifest:
    """Score what is left in the pool under the stage's student, unless this version contains that scoring already."""
    table = plan.parameters("score")
    inputs = {"snapshot": version_identity(snapshot), "train": plan.parameters("train"), "parameters": table}
    path = folder / name / "score.json"
    done = _read(path, snapshot)
    live = {commit.version for commit in current.lineage()}
    if done is not None and done["inputs"] == _jsonable(inputs) and done["result"]["version"] in live:
        return current
    student = plan.parameters("train").get("student", DEFAULT_STUDENT)
    scored = score.score(current, **{"student": student, **table}, adapter=adapter)
    write_json(path, {"inputs": inputs, "result": {"version": scored.manifest.version, "rows": scored.rows}})
    return scored.manifest


def _line(index: int, snapshot: Manifest, result: StageResult, adapter: Path, metrics: dict[str, Any]) -> Stage:
    spend = {"calls": result.calls, "tokens": result.tokens, "usd": result.usd, "saved": result.saved}
    return Stage(
        index,
        str(snapshot),
        asdict(result.quotas),
        result.achieved,
        spend,
        adapter.relative_to(snapshot.root).as_posix(),
        metrics,
        result.n_rows,
    )


def _once(path: Path, snapshot: Manifest, inputs: Mapping[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result in `path` where its inputs are the same; else do the work, and then write both."""
    done = _read(path, snapshot)
    if done is not None and done["inputs"] == _jsonable(inputs):
        result: dict[str, Any] = done["result"]
        return result
    result = work()
    write_json(path, {"inputs": inputs, "result": result})
    return result


def _read(path: Path, snapshot: Manifest) -> dict[str, Any] | None:
    """Return what a step wrote; where it names a former name of the manifest, as if that had been its name now."""
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    former = former_names(snapshot.location)
    for key in {"snapshot", "learned", "rows"} & found["inputs"].keys():
        name, at, version = str(found["inputs"][key]).partition("@")
        if name in former:
            found["inputs"][key] = f"{snapshot.name}{at}{version}"
    return found


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all; what JSON has no form for is written as its text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, ensure_ascii=False, default=str)
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"), sync=True)


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
