"""Writes what a data set adds to a summary of training content, after the sections of the European Commission's template.

The template (24 July 2025, for Article 53(1)(d) of Regulation (EU) 2024/1689) is one for a whole model; this tool knows one data
set. It states what it knows and says of the rest that it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curate.cards.markup import count, escape, table

if TYPE_CHECKING:
    from curate.cards.facts import CardFacts, SourceFacts

__all__ = ["TEMPLATE", "eu_summary"]

TEMPLATE = (
    "https://digital-strategy.ec.europa.eu/en/library/"
    "explanatory-notice-and-template-public-summary-training-content-general-purpose-ai-models"
)
_UNKNOWN = "Not known to this tool."
_BILLION = 1_000_000_000
_TOKENS_PER_CHARACTER = 4  # at most: a tokenizer of bytes makes four tokens of one letter
_ON_HUB = "hf://"


def eu_summary(facts: CardFacts) -> str:
    """Return the summary as Markdown.

    Args:
        facts: of the snapshot.
    """
    return "\n\n".join(_sections(facts)) + "\n"


def _sections(facts: CardFacts) -> Iterator[str]:
    yield f"# Training content: what the data set {facts.manifest.name} adds"
    yield (
        f"> Made by a program for the snapshot `{facts.manifest}`, after the sections of the [template]({TEMPLATE}) for the "
        "public summary of training content of general-purpose AI models. **It is no legal advice, and no complete summary**: "
        "that is one of a whole model, by its provider. What this tool does not know is marked so, and is to be filled in."
    )
    yield "## 1. General information"
    yield "### 1.1. Provider identification"
    yield _listed(("Provider name and contact details", _UNKNOWN), ("Authorised representative", _UNKNOWN))
    yield "### 1.2. Model identification"
    yield _listed(
        ("Versioned model name(s)", _UNKNOWN),
        ("Model dependencies", _UNKNOWN),
        ("Date of placement on the Union market", _UNKNOWN),
    )
    yield "### 1.3. Modalities, overall training data size and other characteristics"
    yield _listed(
        ("Modality", "text."),
        ("Training data size", _size(facts)),
        ("Types of content", _content(facts)),
        ("Latest date of data acquisition", _acquired(facts)),
        ("Linguistic characteristics", _languages(facts)),
        ("Other relevant characteristics", f"{count(facts.real, 'real row')} and {facts.synthetic:,} synthetic."),
    )
    yield "## 2. List of data sources"
    yield from _sources(facts)
    yield "## 3. Data processing aspects"
    yield f"### 3.1. Respect of reservation of rights from text and data mining exception or limitation\n\n{_UNKNOWN}"
    yield (
        "### 3.2. Removal of illegal content\n\nThis tool neither looks for illegal content nor removes any. Other measures: not "
        "known to it."
    )
    yield f"### 3.3. Other information (optional)\n\n{_other(facts)}"


def _listed(*lines: tuple[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in lines)


def _size(facts: CardFacts) -> str:
    known = f"{count(facts.characters, 'character')} in {count(facts.train, 'train row')}"
    less = "less than 1 billion tokens" if facts.characters * _TOKENS_PER_CHARACTER < _BILLION else "tokens were not counted"
    return f"{less} ({known})."


def _content(facts: CardFacts) -> str:
    tasks = ", ".join(f"{task} ({count(n, 'domain')})" for task, n in facts.tasks.items())
    return f"questions and answers: {tasks}." if tasks else _UNKNOWN


def _acquired(facts: CardFacts) -> str:
    found = [commit.time for commit in facts.log if commit.verb == "ingest"]
    asked = (
        [commit.time for commit in facts.log if commit.verb in ("balance", "synthesize", "annotate")] if facts.teachers else []
    )
    if not found:
        return _UNKNOWN
    written = f", and a teacher was asked last in {max(asked):%m/%Y}" if asked else ""
    return f"files were read last in {max(found):%m/%Y}{written}; when the sources were collected is not known to this tool."


def _languages(facts: CardFacts) -> str:
    if not facts.languages.codes:
        return _UNKNOWN
    how = "as given" if facts.languages.given else "detected by a program in a sample"
    return f"{', '.join(facts.languages.codes)} ({how})."


def _sources(facts: CardFacts) -> Iterator[str]:
    real = [source for source in facts.sources if source.kind != "synthetic"]
    hub = [source for source in real if source.address.startswith(_ON_HUB)]
    files = [source for source in real if source not in hub]
    public = f"From the Hugging Face Hub (whether they are public this tool does not know):\n\n{_table(hub)}" if hub else _UNKNOWN
    yield f"### 2.1. Publicly available datasets\n\n{public}"
    yield (
        f"### 2.2. Private non-publicly available datasets obtained from third parties\n\n- 2.2.1. Commercially licensed by "
        f"rightsholders or their representatives: {_UNKNOWN}\n- 2.2.2. From other third parties: {_UNKNOWN}"
    )
    yield (
        "### 2.3. Data crawled and scraped from online sources\n\nThis tool crawls nothing. Whether its sources were crawled: "
        "not known to it."
    )
    yield f"### 2.4. User data\n\n{_UNKNOWN}"
    yield f"### 2.5. Synthetic data\n\n{_synthetic(facts)}"
    other = f"Files whose origin this tool does not know:\n\n{_table(files)}" if files else "None that this tool knows of."
    other += "\n\nOf the versions before the log begins, no source is known." if facts.unknown else ""
    yield f"### 2.6. Other sources of data\n\n{other}"


def _table(sources: list[SourceFacts]) -> str:
    lines = [(source.address, source.licence or "not stated", source.rows) for source in sources]
    return table(("source", "licence", "rows read"), lines, numbers=1)


def _synthetic(facts: CardFacts) -> str:
    ready = [source for source in facts.sources if source.kind == "synthetic"]
    if not (facts.synthetic or facts.rationales or ready):
        return "None was made by this tool, and no source was said to be synthetic."
    lines = [("Modality", "text.")]
    lines.append(
        ("Rows", f"{count(facts.synthetic, 'row')} of the train split; rationales of {count(facts.rationales, 'real row')}.")
    )
    models = ", ".join(map(_model, facts.teachers)) or _UNKNOWN.rstrip(".")
    lines.append(("AI models used to generate it", f"{models}. Which of them are on the Union market: not known to this tool."))
    text = _listed(*lines)
    return f"{text}\n\nSources that were synthetic when they were read:\n\n{_table(ready)}" if ready else text


def _model(name: str) -> str:
    recording = " (a recording; which model gave its answers is not known to this tool)"
    return escape(name) + (recording if name.startswith("recorded:") else "")


def _other(facts: CardFacts) -> str:
    if not facts.newest:
        return "No rows were chosen by this tool."
    text = f"Rows were chosen per domain by `curate {facts.newest['verb']}`."
    judged = ", ".join(f"{escape(each.auditor)} {each.rejected:,}" for each in facts.auditors)
    return f"{text} Rejected by auditors, over all rows and attempts: {judged}." if judged else text
