"""`curate card`: the card of a snapshot, as an export writes it beside the data. Changes nothing.

All of it comes from `curate.cards.facts`. The text is made of parts, which are named, so that `curate.cards.merging` can renew
them and leave alone what a person wrote between them; each is short enough to be read: long tables show their ends and a total.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.cards import metadata
from curate.cards.eu_summary import eu_summary
from curate.cards.facts import CardFacts, DomainRows, read_facts
from curate.cards.markup import clean, count, escape, table, without_folder
from curate.cards.merging import assemble
from curate.cards.plans import plan_of
from curate.cards.settings import CardSettings
from curate.manifest.manifest import Manifest
from curate.manifest.schema import SPLITS
from curate.settings import takes
from curate.teachers.prices import format_usd

__all__ = [
    "ABOUT",
    "MEASURED",
    "MOST_LISTED",
    "PARTS",
    "CardResult",
    "Configs",
    "body",
    "card",
    "configs_of",
    "limits",
    "text_of",
]

Configs = Sequence[Mapping[str, Any]]  # as a card's header has them: ``config_name``, ``data_files`` and, of one, ``default``

PARTS = ("summary", "domains", "sources", "teacher", "audit", "selection", "limits", "columns", "reproduce")
MOST_LISTED = 500  # domains that are listed in the card; more are in a file of their own
# Columns of a data set, and what they hold.
ABOUT = {
    "id": "the row's name, which never changes",
    "prompt": "the question",
    "answer": "its final answer",
    "label": "the answer as the number of its class, where answers are class names",
    "rationale": "the reasoning that leads to the answer, where there is one",
    "messages": "the other turns of a chat, where there are any",
    "domain": "the kind of question",
    "domains": "all labels of the row",
    "split": "train, validation or test",
    "source": "real, or synthetic where a teacher wrote the row",
    "stage": "that chose the row, from 0",
    "reason": "why the row was chosen",
    "origin": "where the row came from",
    "parents": "ids of the rows that it was written from",
    "cluster": "within the domain",
    "score": "newest difficulty score",
    "weight": "of train rows: by it every domain counts as much as the balance wanted; the mean is 1",
    "extra": "JSON: the further columns of its source",
}
_AT_TIMES = ("label", "domains", "weight", "messages")  # columns that some data sets have
_LONG, _ENDS = 24, 8  # domains from which a table is folded, and how many it then shows at either end
_FEW = 10  # train rows; a domain with fewer is told
_MOST_SOURCES = 20  # listed

# auditor → what was measured of it: of docs/audit.md, which a test compares.
MEASURED = {
    "answer_mismatch": "of 300 cases written by somebody who had not seen its rules it judged 257 rightly at the first run, and "
    "accepted 9 of their 169 wrong answers; since those faults were mended, all 300 and none",
}
# Parameters that are told of a choice; the plan has all of them. An option of a policy is told beside that policy alone.
_KEYS = ("budget", "stages", "policy", "schedule", "temperature", "need_weight", "n", "selector", "rationales", "fill", "seed")
_OPTIONS_OF = {"adaptive": ("schedule",), "need": ("schedule", "need_weight"), "temperature": ("temperature",)}


@dataclass(frozen=True)
class CardResult:
    """A card, or a summary of training content.

    Attributes:
        manifest: the version that it is of.
        text: Markdown; of a card under a YAML header.
    """

    manifest: Manifest
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return the text for ``--json``."""
        return {"manifest": str(self.manifest), "text": self.text}


@takes(CardSettings)
def card(manifest: Manifest, settings: CardSettings) -> CardResult:
    """Return the card of a manifest's snapshot: Markdown under a YAML header.

    Where the log does not reach back to the first version, the card says so and states no licence.

    Args:
        manifest: a version that has at least one commit.

    Raises:
        ManifestError: nothing of the log is left.
        InputError: a language is no code.
    """
    facts = read_facts(
        manifest, language=settings.language or (), held_out=settings.held_out, complete_only=settings.complete_only
    )
    return CardResult(manifest, eu_summary(facts) if settings.eu_summary else text_of(facts))


def text_of(
    facts: CardFacts,
    configs: Configs | None = None,
    *,
    picture: str = "",
    listing: str = "",
    columns: Sequence[str] = (),
) -> str:
    """Return the card that states some facts.

    Args:
        facts: of the snapshot.
        configs: of the data set; `configs_of` unless given.
        picture: of the domains before and after, a path beside the card; "" for none.
        listing: the file beside the card that lists all domains; "" where there is none.
        columns: of the files; those that every data set has, unless given.
    """
    configs = configs_of(facts) if configs is None else configs
    parts = body(facts, picture=picture, configs=configs, listing=listing, columns=columns)
    return assemble(metadata.header_of(facts, configs), parts)


def configs_of(facts: CardFacts) -> list[dict[str, Any]]:
    """Return the one config of a data set that has a file per split in ``data/``."""
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in SPLITS if facts.splits.get(split)]
    return [{"config_name": "default", "data_files": files}]


def body(
    facts: CardFacts, *, picture: str = "", configs: Configs = (), listing: str = "", columns: Sequence[str] = ()
) -> dict[str, str]:
    """Return the parts of a card's text by name, in their order; a part that has nothing to say is left out.

    Args:
        facts: of the snapshot.
        picture: of the domains before and after: a path beside the card; "" for none.
        configs: of the data set, as its header has them.
        listing: the file beside the card that lists all domains; "" where there is none.
        columns: of the files; those that every data set has, unless given.
    """
    parts: dict[str, Callable[[], str]] = {
        "summary": lambda: _summary(facts, configs),
        "domains": lambda: _domains(facts, picture, listing),
        "sources": lambda: _sources(facts),
        "teacher": lambda: _teacher(facts),
        "audit": lambda: _audit(facts),
        "selection": lambda: _selection(facts),
        "limits": lambda: _limits(facts),
        "columns": lambda: _columns(columns),
        "reproduce": lambda: _reproduce(facts),
    }
    assert tuple(parts) == PARTS
    return {name: text for name, write in parts.items() if (text := write())}


def _incomplete(facts: CardFacts) -> list[str]:
    """Return a sentence for each thing that a cap cut short, or that was not done."""
    lines = []
    for stage in facts.stages:
        if not stage.complete:
            left = ", and its rows are left out" if facts.complete_only else ""
            lines.append(f"A cap cut stage {stage.stage} short, at {stage.filled:,} of {count(stage.slots, 'slot')}{left}.")
        elif stage.filled < stage.slots:
            lines.append(f"Stage {stage.stage} ended with {count(stage.slots - stage.filled, 'empty slot')} of {stage.slots:,}.")
    missing = sorted(set(range(facts.planned_stages)) - {stage.stage for stage in facts.stages})
    if missing:
        which = ", ".join(map(str, missing))
        lines.append(f"Of {count(facts.planned_stages, 'stage')}, {which} {'is' if len(missing) == 1 else 'are'} not done.")
    lines += [f"A cap cut {command} short." for command in facts.cut]
    if facts.too_long:
        lines.append(f"{count(facts.too_long, 'train row')} of more than {facts.max_tokens:,} tokens are left out.")
    return lines


def _money(facts: CardFacts) -> list[tuple[str, str, int, int, str]]:
    """Return per model: its name, ``used`` or ``billed``, calls, tokens and dollars."""
    found = facts.costs.by.get("model", {}) if facts.costs else {}
    lines = []
    for model, total in found.items():
        recorded = model.startswith("recorded:")
        usd = "nothing" if recorded else "no price known" if total.usd is None else format_usd(total.usd)
        lines.append((without_folder(model), "used" if recorded else "billed", total.calls, total.tokens, usd))
    return lines


def _summary(facts: CardFacts, configs: Sequence[Mapping[str, Any]]) -> str:
    notices = _incomplete(facts)
    warning = f"> **Not complete.** {' '.join(notices)}\n\n" if notices else ""
    share = f"{_percent(facts.synthetic, facts.train)} of them synthetic" if facts.synthetic else "all of them real"
    after = sum(1 for domain in facts.domains if domain.after)
    text = (
        f"{count(facts.train, 'train row')} in {count(after, 'domain')}, {share}" if facts.train else "No train row is selected"
    )
    held = _by_split(facts.splits)
    text += f", and {held} with their answers" if held else ""
    back = _by_split(facts.kept_back)
    text += f"; kept back, questions and answers: {back}" if back else "" if held else "; nothing is held out"
    text += (
        f". It is the snapshot `{facts.manifest}` (`{facts.fingerprint}`), last changed with baldistill "
        f"{escape(facts.package)}. This card was made from the manifest's log and ledger."
    )
    if facts.unknown:
        text += (
            f"\n\nWhat was done up to version {facts.unknown - 1} is not in the log any more: of the rows that came before, "
            "neither source nor licence is known, so no licence is stated here."
        )
    return f"# {facts.manifest.name}\n\n{warning}{text}{_configs(configs)}"


def _by_split(splits: Mapping[str, int]) -> str:
    """Return the held-out rows of each split: ``3 validation rows and 1 test row``."""
    return " and ".join(count(splits[split], f"{split} row") for split in SPLITS[1:] if splits.get(split))


def _configs(configs: Sequence[Mapping[str, Any]]) -> str:
    if len(configs) < 2:
        return ""
    lines = []
    for config in configs:
        splits = dict.fromkeys(str(entry.get("split", "train")) for entry in config.get("data_files", ()))
        lines.append((config["config_name"], ", ".join(splits), config.get("description", _about(str(config["config_name"])))))
    return "\n\n" + table(("config", "splits", "what it holds"), lines)


def _about(config: str) -> str:
    stage = config.removeprefix("stage-")
    known = {"default": "everything selected", "real": "the real rows alone", "synthetic": "the rows that a teacher wrote"}
    return known.get(config, f"what stage {stage} chose" if stage.isdigit() else "")


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f}%" if share >= 1 or not part else "less than 1%"


def _domains(facts: CardFacts, picture: str, listing: str) -> str:
    about = "Train rows: before (real rows as they were ingested) and after (in this data set), of which real and synthetic."
    if facts.repeats:
        about += f" {count(facts.repeats, 'of the real rows repeats', 'of the real rows repeat')} others."
    about += " A row of several domains counts in each." if facts.several else ""
    image = f"![Rows per domain, before and after]({picture})\n\n" if picture else ""
    lines = [_domain_line(domain) for domain in facts.domains]
    total = "" if facts.several else _total(facts.domains)
    head = ("domain", "before", "after", "real", "synthetic")
    whole = table(head, lines, numbers=4) + total
    if len(lines) <= _LONG:
        return f"## Domains\n\n{image}{about}\n\n{whole}"
    between = (f"… {len(lines) - 2 * _ENDS:,} more …", *_sums(facts.domains[_ENDS:-_ENDS]))
    folded = table(head, [*lines[:_ENDS], between, *lines[-_ENDS:]], numbers=4) + total
    if listing:
        rest = f"All {len(lines):,} are in [{listing}]({listing})."
    elif len(lines) <= MOST_LISTED:
        rest = f"<details><summary>All {len(lines):,} domains</summary>\n\n{whole}\n\n</details>"
    else:
        rest = f"{len(lines):,} domains in all."
    return f"## Domains\n\n{image}{about}\n\n{folded}\n\n{rest}"


def _domain_line(domain: DomainRows) -> tuple[str, int, int, int, int]:
    return domain.domain or "(none)", domain.before, domain.after, domain.real, domain.synthetic


def _sums(domains: Sequence[DomainRows]) -> tuple[int, int, int, int]:
    counts = [(domain.before, domain.after, domain.real, domain.synthetic) for domain in domains]
    before, after, real, synthetic = (sum(column) for column in zip((0, 0, 0, 0), *counts, strict=True))
    return before, after, real, synthetic


def _total(domains: Sequence[DomainRows]) -> str:
    return f"\n| **total** | {' | '.join(f'**{n:,}**' for n in _sums(domains))} |"


def _sources(facts: CardFacts) -> str:
    if not facts.sources:
        return ""
    lines = [
        (source.address, source.kind, source.licence or "not stated", source.fingerprint[:23], source.rows)
        for source in facts.sources[:_MOST_SOURCES]
    ]
    text = table(("source", "kind", "licence", "hash", "rows read"), lines, numbers=1)
    more = len(facts.sources) - _MOST_SOURCES
    text += f"\n\nand {count(more, 'more source')}." if more > 0 else ""
    return f"## Sources and licences\n\n{text}\n\n{_licences(facts)}\n\n{_languages(facts)}"


def _licences(facts: CardFacts) -> str:
    found = facts.licences
    if facts.unknown:
        return "No licence is stated: see above."
    if not found.stated:
        return "No licence was given for any source, so none is stated here."
    lines = []
    if found.missing:
        lines.append(
            f"No licence is stated for the whole: {count(found.missing, 'source has', 'sources have')} none. "
            f"Given for the others: {', '.join(map(_quote, found.stated))}."
        )
    elif len(found.stated) == 1:
        lines.append(f"Every source was ingested with the licence {_quote(found.stated[0])}.")
    else:
        lines.append(f"The sources have several licences: {', '.join(map(_quote, found.stated))}.")
    if found.unknown:
        lines.append(
            f"The Hub has no identifier for {', '.join(map(_quote, found.unknown))}: the header says `other` and the name."
        )
    lines += [f"{_quote(choice)} is a choice: one of them is enough." for choice in found.choices]
    if found.conflicts:
        lines.append("What they say of each other (no legal advice):\n")
        lines += [
            f"- {' and '.join(conflict.licences)}: {conflict.about} ([source]({conflict.page}))." for conflict in found.conflicts
        ]
    return "\n".join(lines)


def _quote(name: str) -> str:
    return f"“{escape(name)}”"


def _languages(facts: CardFacts) -> str:
    found = facts.languages
    if found.given:
        return f"Language, as given: {', '.join(found.codes)}."
    if found.codes:
        shares = ", ".join(f"{code} ({share:.0%})" for code, share in found.shares)
        return f"Language, detected by a program in {count(found.looked_at, 'sampled text')} and by no person: {shares}."
    return "Language: not stated, since too few of the sampled texts are long enough for a program to be sure."


def _teacher(facts: CardFacts) -> str:
    if not (facts.teachers or facts.rationales or facts.synthetic):
        return ""
    names = ", ".join(f"`{_code(name)}`" for name in facts.teachers) or "a model that the log does not name"
    wrote = [
        f"{count(facts.synthetic, 'whole row')} of the train split (`source` is `synthetic`)" if facts.synthetic else "",
        f"the rationales of {count(facts.rationales, 'real row')}" if facts.rationales else "",
    ]
    said = " and ".join(part for part in wrote if part) or "nothing that is in this data set"
    lines = [f"{names} wrote {said}."]
    if facts.synthetic and not any(name for name in facts.teachers):
        lines = [f"{count(facts.synthetic, 'row')} of the train split came from sources of synthetic data."]
    if facts.prompts:
        versions = "; ".join(f"for {purpose} {', '.join(map(escape, found))}" for purpose, found in facts.prompts.items())
        lines.append(f"Versions of the prompts (hashes of their texts): {versions}.")
    return f"## What a teacher wrote\n\n{' '.join(lines)}\n\n{_spend(facts)}".rstrip()


def _code(text: str) -> str:
    return clean(text).replace("`", "'")


def _spend(facts: CardFacts) -> str:
    if facts.costs is None:
        return "The ledger of its calls is not here, so what it cost is not known." if facts.teachers else ""
    lines = _money(facts)
    if not lines:
        return ""
    text = table(
        ("model", "answers are", "calls", "tokens", "US dollars"), [(*line[:2], *line[2:4], line[4]) for line in lines], numbers=3
    )
    notes = ["Everything that was ever charged to this manifest's name, rejected replies included."]
    if any(line[1] == "used" for line in lines):
        notes.append("Recorded answers are used and cost nothing here; which model gave them, the recording alone may say.")
    if facts.costs.saved_calls:
        notes.append(f"{count(facts.costs.saved_calls, 'answer')} that the ledger had already was used again without a charge.")
    if facts.costs.lost or facts.costs.under_way:
        notes.append("Lost calls, and those under way, are charged at their upper bounds.")
    return f"{text}\n\n{' '.join(notes)}"


def _audit(facts: CardFacts) -> str:
    if not facts.audited:
        return "## Audit\n\nNo auditor judged these rows."
    lines = [(each.auditor, f"{each.threshold:g}", each.rejected, each.noted) for each in facts.auditors]
    text = (
        "Findings over all rows and attempts of the manifest, from its first version on. A score from the threshold on rejects, "
        "and what was rejected is not in this data set."
    )
    standing = [f"{count(each.standing, 'row')} ({escape(each.auditor)})" for each in facts.auditors if each.standing]
    if standing:
        text += (
            f" **Rows that an auditor would reject are in it all the same**, since `curate audit` ran without `--apply`: "
            f"{', '.join(standing)}."
        )
    head = ("auditor", "threshold", "rejected", "noted")
    return f"## Audit\n\n{text}\n\n{table(head, lines, numbers=3)}\n\n{_measured(facts)}"


def _measured(facts: CardFacts) -> str:
    """Say how often auditors are right, as far as that was measured."""
    names = [each.auditor for each in facts.auditors]
    lines = [f"How often {escape(name)} is right: {MEASURED[name]}." for name in names if name in MEASURED]
    others = [escape(name) for name in names if name not in MEASURED]
    if others:
        named = " and ".join([", ".join(others[:-1]), others[-1]] if len(others) > 1 else others)
        lines.append(f"How often {named} {'is' if len(others) == 1 else 'are'} right was not measured.")
    return " ".join(lines)


def _selection(facts: CardFacts) -> str:
    newest = facts.newest
    if not newest:
        return ""
    idle = {"schedule", "temperature", "need_weight"} - set(_OPTIONS_OF.get(str(newest.get("policy")), ()))
    values = [(key, newest[key]) for key in _KEYS if newest.get(key) is not None and key not in idle]
    text = f"By `curate {newest['verb']}`: " + ", ".join(f"{key} {escape(value)}" for key, value in values) + "."
    sampled = [commit for commit in facts.log if commit.verb == "sample"]
    if sampled:
        text += f" Before it, {sampled[-1].summary['drawn']:,} rows were drawn by `curate sample`, seed {sampled[-1].seed}."
    if not facts.stages:
        return f"## How rows were chosen\n\n{text}"
    lines = [
        (
            stage.stage,
            "complete" if stage.complete else "cut short",
            f"v{stage.version}",
            stage.slots,
            stage.filled,
            stage.synthetic,
        )
        for stage in facts.stages
    ]
    head = ("stage", "state", "version", "slots", "filled", "of them synthetic")
    return f"## How rows were chosen\n\n{text}\n\n{table(head, lines, numbers=3)}"


def _limits(facts: CardFacts) -> str:
    return "## Known limits\n\n" + "\n".join(f"- {line}" for line in limits(facts))


def limits(facts: CardFacts, show: Callable[[str], str] = escape) -> Iterator[str]:
    """Yield a sentence for each limit that is known.

    Args:
        facts: of the snapshot.
        show: makes names of domains fit for where the sentences go.
    """
    yield from _incomplete(facts)
    if facts.newest:
        yield "The train split is balanced on purpose: how often a domain is in it says nothing of how often it occurs."
    if facts.synthetic or facts.rationales:
        yield "Text of a teacher may be wrong in ways that no auditor finds: final answers are compared, not the steps to them."
        yield "Terms of use of the teacher's provider may bind what it wrote; this tool does not know them."
    few = [domain.domain for domain in facts.domains if 0 < domain.after < _FEW]
    if few:
        yield f"{count(len(few), 'domain has', 'domains have')} fewer than {_FEW} train rows: {_some(few, show)}."
    gone = [domain.domain for domain in facts.domains if not domain.after]
    if gone:
        yield f"{count(len(gone), 'domain has', 'domains have')} no train row in it: {_some(gone, show)}."
    if facts.held_out:
        yield "Validation and test rows are as they came: neither balanced nor judged."
    yield "Real rows are compared with held-out rows alone, so they may repeat each other. Nobody looked for personal data."


def _some(domains: Sequence[str], show: Callable[[str], str]) -> str:
    names = [show(name) or "(none)" for name in domains]
    return ", ".join(names[:_ENDS]) + (f" and {len(names) - _ENDS:,} more" if len(names) > _ENDS else "")


def _columns(names: Sequence[str]) -> str:
    lines = [(name, ABOUT.get(name, "")) for name in names or (name for name in ABOUT if name not in _AT_TIMES)]
    return "## Columns\n\n" + table(("column", "meaning"), lines)


def _reproduce(facts: CardFacts) -> str:
    plan = plan_of(facts.manifest.name, facts.log)
    whole = "" if not facts.unknown else f" What came before version {facts.unknown} is not in it."
    return (
        "## How to make it again\n\nWith the files that the sources name beside it: `baldistill run plan.toml`, or the commands "
        f"that its tables are named after.{whole}\n\n```toml\n{plan}```"
    )
