"""What people see of the results of both packages: the figures that matter, and nothing that says nothing."""

from __future__ import annotations

import importlib
import io
import re
import typing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

import baldistill.cli
import baldistill.layouts
import curate.manifest.history
import curate.terminal.cli
from baldistill.demo import DemoResult
from baldistill.evaluation.closed import LabelSet
from baldistill.evaluation.evaluate import EvaluateResult, Rate
from baldistill.evaluation.score import ScoreResult
from baldistill.runs.compare import CompareResult, Line
from baldistill.runs.pipeline import RunResult, Stage
from baldistill.training.train import TrainResult
from curate.audit.audit import AuditResult
from curate.audit.base import FINDINGS
from curate.balance.annotate import AnnotateResult
from curate.balance.results import AskedKind, BalanceResult, StageResult
from curate.balance.synthesize import SynthesizeResult
from curate.calls.estimates import EstimateVsActual
from curate.calls.forecast import Estimate
from curate.export.export import ExportResult
from curate.generation.prompts import Template, built_in
from curate.ledger.records import Charged
from curate.manifest.history import Tags, diff, log
from curate.manifest.manifest import Manifest
from curate.report.explain import explain
from curate.report.profile import profile
from curate.report.tokens import DomainLengths
from curate.selection.base import Quotas
from curate.selection.sample import SampleResult
from curate.sources.ingest import IngestResult
from curate.terminal import console, layouts
from curate.vectors.cluster import ClusterResult
from curate.vectors.embed import EmbedResult
from tests.support.samples import ingested

MATH = Manifest("math", 7)


def seen(result: Any, *, width: int = 130) -> str:
    """Return what a terminal of so many columns shows, without trailing blanks."""
    screen = Console(file=io.StringIO(), width=width, highlight=False)
    for part in layouts.render(result, baldistill.layouts.LAYOUTS):
        screen.print(part, markup=False)
    assert isinstance(screen.file, io.StringIO)
    return "\n".join(line.rstrip() for line in screen.file.getvalue().splitlines())


def words(text: str) -> str:
    return " ".join(text.split())


STAGE = StageResult(
    stage=0,
    version=8,
    budget=10,
    quotas=Quotas(wanted={"algebra": 6, "geometry": 4}, planned={"algebra": 6, "geometry": 4}, budget=10),
    achieved={"algebra": 6, "geometry": 4},
    synthetic={"geometry": 1},
    rejected={"geometry": {"near_duplicate": 2, "answer_mismatch": 1}},
    moved={},
    calls=12,
    tokens=3456,
    usd=0.00125,
    saved=3,
)


def test_profile_has_a_bar_per_domain_and_its_figures(tmp_path: Path) -> None:
    rows = [{"prompt": f"a{i}", "domain": "algebra"} for i in range(30)] + [{"prompt": "g", "domain": "geometry"}]
    text = seen(profile(ingested(tmp_path, rows)))
    lines = text.splitlines()
    assert lines[0] == "tail@0: 31 train rows in 2 domains"
    assert "imbalance ratio       30 : 1" in lines
    assert words(lines[-2]) == "algebra head 30 96.8% 96.8% ████████████████████████████ 4 / 4 / 4"
    assert words(lines[-1]) == "geometry tail 1 3.2% 100.0% ▉ 2 / 2 / 2"
    assert "synthetic" not in text
    assert "tokens" not in text


def test_profile_of_many_domains_names_the_ends_and_sums_the_rest_by_rank(tmp_path: Path) -> None:
    sizes = {f"d{i:03d}": max(1, 30 // (i + 1)) for i in range(501)}
    rows = [{"prompt": f"{domain} {i}", "domain": domain} for domain, n in sizes.items() for i in range(n)]
    text = seen(profile(ingested(tmp_path, rows)), width=140)
    named = [line.split()[0] for line in text.splitlines() if line.startswith("d") and not line.startswith("domain")]
    assert named == [*list(sizes)[:10], *list(sizes)[-10:]]
    assert re.search(r"… ranks 11 to 100, 2 to 1 rows each +head/tail +95 +", text)
    assert re.search(r"… ranks 101 to 491, 1 row each +tail +391 +", text)
    assert "--json has every one" in text


def test_profile_tells_what_was_selected_and_by_which_stage(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "domain": "x", "status": "selected", "stage": 0, "cluster": 1, "n_tokens": 9},
        {"prompt": "b", "domain": "x", "status": "selected", "stage": 1, "source": "synthetic", "cluster": 0, "n_tokens": 2000},
        {"prompt": "c", "domain": "x", "cluster": None},
    ]
    text = seen(profile(ingested(tmp_path, rows), by="cluster"))
    assert "stage 0: 1 real + 0 synthetic, stage 1: 0 real + 1 synthetic" in text
    assert "above 1,024: 1   not counted 1" in text
    assert "selected  synthetic" in text
    assert {words(line).split()[1] for line in text.splitlines()[-3:]} == {"0", "1", "–"}


@pytest.mark.parametrize("width", [70, 80, 200])
def test_a_narrow_terminal_shortens_bars_and_names_but_no_figure(tmp_path: Path, width: int) -> None:
    rows = [{"prompt": f"a{i}", "domain": "a domain with quite a long name"} for i in range(300)] + [
        {"prompt": "g", "domain": "g"}
    ]
    text = seen(profile(ingested(tmp_path, rows)), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "99.7%" in text
    assert "5 / 5 / 5" in text


def test_balance_says_what_was_wanted_what_came_and_why_not() -> None:
    text = seen(BalanceResult(MATH, 10, (STAGE,)))
    lines = [words(line) for line in text.splitlines()]
    assert lines[0] == "math@7: 10 rows, 1 stage"
    assert "algebra 6 6 6 6 0 ████████████████████" in lines
    assert "geometry 4 4 4 3 1 █████████████▍ answer_mismatch 1, near_duplicate 2" in lines
    assert "all 10 10 10 9 1 answer_mismatch 1, near_duplicate 2" in lines
    assert "0 8 10 10 12 3,456 $0.00125 3" in lines


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"unanswered": 4}, "stage 0: the recording had no answer for 4 requests"),
        ({"moved": {"a": 2, "b": -2}}, "slots moved to other domains, since some could not fill theirs: a +2, b -2"),
        ({"complete": False}, "what was bought is kept, run the same command to continue"),
        ({"reused": True}, "already done"),
        ({"calls": 5, "usd": None}, "no price known"),
    ],
)
def test_balance_remarks_on_what_is_out_of_the_ordinary(change: dict[str, Any], remark: str) -> None:
    plain, special = seen(BalanceResult(MATH, 10, (STAGE,))), seen(BalanceResult(MATH, 10, (replace(STAGE, **change),)))
    assert remark not in plain
    assert remark in special


ESTIMATE = Estimate(
    *(7, 3, 1000, 200, 1.5),
    calls=12,
    calls_range=(10, 19),
    tokens_range=(900, 1600),
    usd_range=(1.1, 2.0),
    replies=40,
    priced_on="2025-08-07",
)


def test_a_stage_says_how_far_off_its_estimate_was() -> None:
    told = seen(BalanceResult(MATH, 10, (replace(STAGE, reckoned=EstimateVsActual("balance", 0, ESTIMATE, 12, 1300, 1.635, 4)),)))
    assert "stage 0: estimated $1.50 ($1.10–$2.00), billed $1.64; 4 replies were already in the ledger" in told


def test_a_dry_run_shows_the_plan_and_its_cost() -> None:
    quotas = Quotas(wanted={"a": 6, "b": 4}, planned={"a": 8, "b": 2}, budget=10)
    stage = StageResult(0, None, 10, quotas, {}, {}, {}, {}, estimate=ESTIMATE, usd=1.5)
    lines = [words(line) for line in seen(BalanceResult(MATH, 10, (stage,))).splitlines()]
    assert lines[0] == "math@7: plan for 10 rows, 1 stage"
    assert "b 4 2 2" in lines
    assert "0 10 7 3 12 (10–19) 1,200 (900–1,600) $1.50 ($1.10–$2.00)" in lines
    assert "in brackets: 90% range, from 40 replies of this model" in "\n".join(lines)
    assert "at the list prices of 2025-08-07" in "\n".join(lines)
    alone = seen(BalanceResult(MATH, 10, (replace(stage, estimate=replace(ESTIMATE, replies=0, priced_on="")),), asks=False))
    assert "no --teacher: nothing will be sent; filling the missing rows with a teacher would take:" in alone
    assert "wide, since no reply of this model is known yet" in alone
    assert "list prices" not in alone


def test_a_dry_run_says_what_is_asked_in_which_domains_and_why() -> None:
    sums = AskedKind("number", "mathematics", "recognised", "answers are numbers or formulas", tuple("abcde"), 1200, 3)
    several = AskedKind("text", "instruction", "mixed", "of several kinds: text 60%", ("f",), 0, 2)
    quotas = Quotas(wanted={"a": 6}, planned={"a": 8}, budget=10)
    stage = StageResult(0, None, 10, quotas, {}, {}, {}, {}, estimate=ESTIMATE, usd=1.5, asked=(sums, several))
    later = replace(stage, stage=1, asked=(replace(sums, domains=("z",), rationales=10, examples=0),))
    text = seen(BalanceResult(MATH, 20, (stage, later)))
    lines = [words(line) for line in text.splitlines()]
    assert "mathematics 1,210 3 a, b, c, d and 2 more domains answers are numbers or formulas" in lines
    assert "each row by its own kind 2 f of several kinds: text 60%" in lines
    assert "say another kind: curate profile math --kind DOMAIN=KIND" in text
    for planned in (
        AnnotateResult(MATH, 5, estimate=ESTIMATE, asked=(sums,)),
        SynthesizeResult(MATH, 5, {"a": 0}, {}, estimate=ESTIMATE, asked=(sums,)),
    ):
        assert "answers are numbers or formulas" in seen(planned)


def test_what_is_short_is_said_in_the_last_line_with_the_way_out() -> None:
    def last(result: Any) -> str:
        return words(seen(result).replace("\n", " ")).partition(" of ")[2]

    short = AnnotateResult(MATH, 40, 30, {"answer_mismatch": 3}, 2, False, refused=1)
    assert last(short).endswith(
        "40 rows have no rationale (3 rejected, 1 refused by the server, 2 not in the recording, 4 not asked or not answered), "
        "so this ends with exit status 4: raise the cap, or mend what failed, and run the same command again"
    )
    assert last(replace(short, complete=True)).endswith("run the same command again to ask for others")
    assert last(replace(short, complete=True, rejected={})).endswith("ask another model for them, or unselect them")
    missing = SynthesizeResult(MATH, 5, {"a": 5, "b": 3}, {})
    assert "10 new examples are missing, so this ends with exit status 4: raise --max-attempts" in last(missing)
    capped = BalanceResult(MATH, 10, (replace(STAGE, complete=False, achieved={"a": 3}),))
    assert "slots stay empty, so this ends with exit status 4: raise the cap" in last(capped)
    for whole in (replace(short, written=40), replace(missing, written={"a": 5, "b": 5})):
        assert "exit status" not in seen(whole)


def test_stages_that_were_undone_are_named() -> None:
    assert "undone, run them again: stages 1, 2" in seen(BalanceResult(MATH, 10, (STAGE,), undone=(1, 2)))


def test_ingest_lists_what_was_left_out_and_what_is_gone() -> None:
    skipped = tuple(f"a.jsonl:{i}: not JSON" for i in range(50))
    text = seen(IngestResult(MATH, 1200, 3, 2, 0, skipped, {"algebra": 1200, "geometry": 3}))
    assert "math@7: 1,200 rows added" in text
    assert "2, kept as they are; --prune retires them" in text
    assert "a.jsonl:39: not JSON" in text
    assert "a.jsonl:40: not JSON" not in text
    assert "and 10 more rows" in text
    assert "geometry" in text


def test_audit_shows_shares_and_the_worst_findings_first() -> None:
    found = [
        ("a" * 32, "x", "malformed", 1.0, "reject", None, "the answer is empty"),
        ("b" * 32, "x", "leakage", 0.5, "note", "c" * 32, "near a test row [of 2]"),
    ]
    schema = {"id": pl.String, "domain": pl.String, **{name: FINDINGS[name] for name in FINDINGS.names()[1:]}}
    text = seen(AuditResult(MATH, 200, pl.DataFrame(found, schema=schema, orient="row")))
    assert "malformed 1 0.5% 0" in [words(line) for line in text.splitlines()]
    assert words(text.splitlines()[-2]) == "aaaaaaaa x malformed reject 1 the answer is empty"
    assert words(text.splitlines()[-1]) == "bbbbbbbb x leakage note 0.5 near a test row [of 2]"
    assert "no findings" in seen(AuditResult(MATH, 200, pl.DataFrame(schema=schema)))


def test_log_and_tags(tmp_path: Path) -> None:
    handle = ingested(tmp_path, [{"prompt": "a"}], summary={"added": 1200, "domains": {"x": 1}})
    handle.tag("first")
    line = words(seen(log(handle)).splitlines()[1])
    assert line.startswith("0 20")
    assert line.endswith("ingest first added 1,200")
    assert words(seen(Tags(MATH, {"b": 2, "a": 2}))) == "tag version a math@2 b math@2"
    assert seen(Tags(MATH, {})) == "math has no tags"


def test_diff_and_explain(tmp_path: Path) -> None:
    handle = ingested(tmp_path, [{"prompt": "a [b]", "domain": "x"}, {"prompt": "c", "domain": "y"}])
    rows = handle.rows()
    after = handle.commit(rows.with_columns(cluster=pl.lit(0), centrality=pl.lit(1.0)), verb="cluster")
    text = seen(diff(after))
    assert text.startswith("tail@0 → tail@1: 0 rows added, 0 gone, 2 changed\nchanged in  centrality 2, cluster 2")
    assert words(text.splitlines()[-1]) == "y 0 0 1"
    story = seen(explain(after, rows["id"][0][:12]))
    assert story.startswith(f"tail@1: row {rows['id'][0]}\ningest ")


def test_what_a_teacher_wrote_alone() -> None:
    spent = Charged(calls=3, tokens=900, usd=0.02, saved=4)
    text = words(seen(AnnotateResult(MATH, 40, 30, {"answer_mismatch": 7}, 3, True, spent=spent)))
    assert text == (
        "math@7: 30 rationales for 40 rows that had none rejected answer_mismatch 7 unanswered 3 "
        "charged 3 calls, 900 tokens, $0.020 from the ledger 4 replies "
        "10 of 40 rows have no rationale (7 rejected, 3 not in the recording), so this ends with exit status 4: "
        "run the same command again to ask for others"
    )
    new = words(
        seen(SynthesizeResult(MATH, 5, {"x": 5, "y": 2}, {"y": {"malformed": 1}}, False, spent=replace(spent, calls=0, saved=0)))
    )
    assert new.startswith("math@7: 7 new examples stopped by a cap or failed calls; what was bought is kept")
    assert "x 5 5 y 5 2 malformed 1 3 of 10 new examples are missing" in new


def test_small_results() -> None:
    assert "math@7: 9 rows have vectors of 384 numbers" in seen(EmbedResult(MATH, 9, 4, 5, 384, "mini"))
    assert words(seen(ClusterResult(MATH, {"b": 2, "a": 3}, 40))).endswith("domain clusters a 3 b 2")
    made = ClusterResult(MATH, {"b": 2, "oil-gas": 3}, 40, ("oil-gas",), {"oil-gas": ("oil", "gas", "well")}, {"oil-gas": 30})
    assert "1 made of 30 rows, named by their most telling words" in words(seen(made))
    assert words(seen(made)).endswith("oil-gas 3 30 oil, gas, well b 2")
    assert words(seen(SampleResult(MATH, {"b": 4, "a": 2}))).startswith("math@7: 6 train rows drawn domain rows b 4")
    exported = ExportResult(MATH, (Path("x/train.parquet"),), {"train": 1500}, Path("x"), "datasets.load_dataset('x')")
    assert seen(exported).startswith("math@7: train 1,500\nwritten  x")
    assert seen(exported).splitlines()[-1] == "x is complete; load it with datasets.load_dataset('x')"
    lengths = (DomainLengths("train", "a", 4, 3, 1200), DomainLengths("train", "b", 9, 0, 80))
    shown = seen(replace(exported, folder=Path("it's x"), train="trl sft --config sft.yaml", lengths=lengths))
    trained = words(shown)
    assert "domain split rows over --max-tokens share longest a train 4 3 75.0% 1,200 it's x is complete" in trained
    assert shown.splitlines()[-1] == """cd 'it'"'"'s x' && trl sft --config sft.yaml"""


def test_a_result_without_a_layout_is_shown_field_by_field() -> None:
    @dataclass(frozen=True)
    class Other:
        manifest: Manifest
        found: tuple[int, ...]
        share: float
        left: None = None

    assert words(seen(Other(MATH, (1, 2000), 0.12345))) == "math@7 found 1, 2,000 share 0.123"
    assert seen(None) == ""
    assert seen("done") == "done"


EVALUATION = EvaluateResult(
    manifest=MATH,
    student="mini",
    split="test",
    rows=20,
    domains=[
        {"domain": "algebra", "n": 10, "correct": 5, "accuracy": 0.5, "low": 0.237, "high": 0.763, "head": True, "unread": 0},
        {"domain": "geometry", "n": 10, "correct": 0, "accuracy": 0.0, "low": 0.0, "high": 0.278, "head": False, "unread": 2},
    ],
    macro=Rate(0.25, 0.1, 0.4, 20),
    micro=Rate(0.3, 0.2, 0.4, 20),
    head=Rate(0.5, 0.237, 0.763, 10),
    tail=None,
    metrics={"class_f1": {"macro": 0.41}},
    truncated=0,
    unended=3,
    seconds=75,
    predictions=pl.DataFrame(),
    unread=2,
    scored=12,
    prior="2",
    label_sets=(LabelSet(("algebra",), ("x", "y"), (1, 2), (3, 4)),),
    path=Path("results/predictions.parquet"),
)


def test_evaluation_has_intervals() -> None:
    lines = [words(line) for line in seen(EVALUATION).splitlines()]
    assert "macro 25.0% (10–40)" in lines
    assert not any(line.startswith("tail ") for line in lines)
    assert "class_f1 macro 0.41" in lines
    assert "took 1 min 15 s" in lines
    assert "without a clear answer 2, counted as wrong" in lines
    assert "chosen among labels 12 rows, by scores for the natural prior at temperature 2" in lines
    assert "predictions results/predictions.parquet" in lines
    assert "algebra head 10 5 – 50.0% (24–76) ██████████" in lines
    assert "geometry tail 10 0 2 0.0% (0–28)" in lines


def test_training_and_scoring() -> None:
    trained = TrainResult(MATH, Path("runs/a"), 60, (2.5, 1.25), 240, 2, ("x",), 80.04)
    assert words(seen(trained)) == (
        "trained on 240 rows of math@7 adapter runs/a steps 60 in 1 min 20 s loss 2.5 first, 1.25 last "
        "cut at the token limit 2 left out, prompt too long 1"
    )
    scored = ScoreResult(MATH, 300, 0, 0, (), {"ifd_ppl:answer": 300}, "mini")
    assert words(seen(scored)) == "math@7: 300 candidates scored kind ifd_ppl:answer 300 by mini"


def test_a_run_has_a_line_per_student_from_the_base_on() -> None:
    rate = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 20}
    metrics = {"macro": rate, "micro": rate, "head": rate, "tail": None}
    base = Stage(-1, "math@6", {}, {}, {}, "", metrics)
    after = Stage(0, "math@8", {}, {}, {"calls": 12, "tokens": 1, "usd": None, "saved": 3}, "a", metrics)
    lines = [words(line) for line in seen(RunResult(MATH, Path("runs/x"), (base, after), (STAGE,), (Path("out"),))).splitlines()]
    assert lines[0] == "math@7: 1 stages of balance, training and evaluation"
    assert "base – 25.0% (10–40) 25.0% (10–40) 25.0% (10–40) – – – –" in lines
    assert "after stage 0 math@8 25.0% (10–40) 25.0% (10–40) 25.0% (10–40) – 12 no price known 3" in lines


def test_runs_side_by_side() -> None:
    metrics = {"macro": {"value": 0.25, "low": 0.1, "high": 0.4, "n": 20}}
    lines = (Line("ours", -1, "math@1", 0, 0, 0, 0.0, metrics), Line("ours", 1, "math@8", 240, 9, 99, None, metrics))
    shown = [words(line) for line in seen(CompareResult(lines, ())).splitlines()]
    assert shown[1:] == [
        "ours base math@1 0 25.0% (10–40) – – – 0 –",
        "ours after stage 1 math@8 240 25.0% (10–40) – – – 9 no price known",
    ]
    assert "do not compare, since they were measured on different rows: a; b" in seen(CompareResult(lines, ("a", "b")))


def test_the_demo_is_one_page(tmp_path: Path) -> None:
    rows = [{"prompt": f"a{i}", "domain": "algebra"} for i in range(30)] + [{"prompt": "g", "domain": "geometry"}]
    before = profile(ingested(tmp_path, rows))
    chosen = [{"prompt": "a", "domain": "algebra"}, {"prompt": "g", "domain": "geometry", "source": "synthetic"}]
    after = profile(ingested(tmp_path, chosen, name="after"))
    rate = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 20}
    stage = Stage(0, "math@8", {}, {}, {"calls": 0, "tokens": 1, "usd": None, "saved": 3}, "a", {"macro": rate})
    run = RunResult(MATH, Path("runs/x"), (stage,), (STAGE,), (Path("out/train.parquet"),))
    text = seen(DemoResult(run, before, after, Path("tail.png"), 98_000, 0.03, "a-model"))
    lines = [words(line) for line in text.splitlines()]
    assert lines[0] == "math@7: 31 rows, 30 : 1 before; 2 rows, 1 : 1 after"
    assert "algebra head 30 ████████████████ 1 1 0 ████████████████" in lines
    assert "geometry tail 1 ▌ 1 0 1 ████████████████ answer_mismatch 1, near_duplicate 2" in lines
    assert "the teacher would have cost 98,000 tokens, $0.030 at the list price of a-model" in lines
    assert "picture of the tail tail.png" in lines


def test_a_template_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    template = built_in("synthesis", "mathematics")
    assert isinstance(template, Template)
    console.show(template)
    assert capsys.readouterr().out == template.text
    assert max(map(len, template.text.splitlines())) > console.PIPE_WIDTH


def kind(name: str) -> Any:
    """Return what ``"module:Name"`` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", baldistill.layouts.LAYOUTS)
def test_a_layout_is_of_a_class_under_its_own_name(name: str) -> None:
    found = kind(name)
    assert isinstance(found, type)
    assert name == f"{found.__module__}:{found.__qualname__}"  # where `render` looks for it


# What commands with a body of their own return: no declaration names it.
OTHERS = """curate.manifest.history:diff curate.manifest.history:log curate.manifest.history:tags
curate.generation.prompts:built_in curate.report.explain:explain
curate.housekeeping.listing:list_manifests curate.housekeeping.restore:restore
curate.report.costs:read_costs curate.report.costs:read_receipts curate.report.costs:read_call
baldistill.runs.compare:compare baldistill.runs.pipeline:run baldistill.demo:demo baldistill.share.merge:merge
baldistill.share.show:show"""


def targets() -> list[str]:
    """Return every verb of both programs."""
    apps = (curate.terminal.cli.app, baldistill.cli.app)
    commands = [info.callback for app in apps for info in app.registered_commands]
    return sorted({*(command.verb for command in commands if hasattr(command, "verb")), *OTHERS.split()})


@pytest.mark.parametrize("target", targets())
def test_every_result_of_a_verb_has_a_layout(target: str) -> None:
    result = typing.get_type_hints(kind(target))["return"]
    for each in typing.get_args(result) or (result,):
        assert f"{each.__module__}:{each.__qualname__}" in baldistill.layouts.LAYOUTS


def test_a_class_of_the_same_name_elsewhere_gets_no_layout_but_a_class_made_from_one_does() -> None:
    class Tags:
        def __str__(self) -> str:
            return "other tags"

    class MyTags(curate.manifest.history.Tags):
        pass

    assert seen(Tags()) == "other tags"
    assert seen(MyTags(MATH, {})) == "math has no tags"


def test_a_dry_run_after_a_first_stage_shows_both() -> None:
    later = StageResult(1, None, 10, STAGE.quotas, {}, {}, {}, {}, estimate=ESTIMATE, usd=1.5)
    lines = [words(line) for line in seen(BalanceResult(MATH, 20, (replace(STAGE, reused=True), later))).splitlines()]
    assert lines[0] == "math@7: plan for 20 rows, 2 stages"
    assert any(line.startswith("0 8 10 10") and line.endswith("already done") for line in lines)
    assert "1 10 7 3 12 (10–19) 1,200 (900–1,600) $1.50 ($1.10–$2.00)" in lines


def test_without_a_teacher_and_with_nothing_short_there_is_nothing_to_price() -> None:
    idle = Estimate(0, 0, 0, 0, None)
    stage = StageResult(0, None, 10, STAGE.quotas, {}, {}, {}, {}, estimate=idle)
    text = seen(BalanceResult(MATH, 10, (stage,), asks=False))
    assert "rationales" not in text
    assert "brackets" not in text
