"""Writes the Croissant description of a data set, ``croissant.json``: which files it has, which columns, and how it was made.

Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html) with the vocabulary for responsible AI
(https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html). Paths are relative to the file. Fields that nobody knows,
such as who publishes it and when, are left out. No name of data is an ``@id``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from curate.cards.card import ABOUT, MEASURED, limits
from curate.cards.markup import clean, count

if TYPE_CHECKING:
    from curate.cards.facts import CardFacts

__all__ = ["CONFORMS_TO", "columns_of", "croissant"]

CONFORMS_TO = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0")
_PARQUET = "application/x-parquet"  # as Croissant's own examples have it, and as its reader knows it
# As https://docs.mlcommons.org/croissant/docs/croissant-spec.html#appendix-1-json-ld-context has it.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in ("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject")
    },
    **{
        name: f"cr:{name}" for name in ("fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField")
    },
    **{name: f"cr:{name}" for name in ("path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate")},
    **{name: f"cr:{name}" for name in ("separator", "source", "subField", "transform")},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}


def croissant(facts: CardFacts, configs: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """Return the description as JSON-LD.

    Args:
        facts: of the snapshot.
        configs: of the data set, as the header of its card has them; the columns of the first are described.
        folder: that holds the files; their columns are read there.
    """
    sets = [each for config in configs for each in _file_sets(config)]
    first = {str(each["@id"]) for config in configs[:1] for each in _file_sets(config)}
    record_sets = [_record_set(each, schema) for each in sets if each["@id"] in first and (schema := _schema(each, folder))]
    described: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": clean(facts.manifest.name),
        "description": _description(facts),
        "version": f"{facts.manifest.version}.0.0",
        "dateCreated": facts.log[-1].time.date().isoformat(),
        "license": [*facts.licences.stated] if facts.licences.metadata else None,
        "inLanguage": [*facts.languages.codes] or None,
        "keywords": ["long-tail", *(["synthetic"] if facts.synthetic else [])],
        "distribution": sets,
        "recordSet": record_sets,
        **_responsible(facts),
    }
    return json.dumps({key: value for key, value in described.items() if value is not None}, ensure_ascii=False, indent=1) + "\n"


def columns_of(configs: Sequence[Mapping[str, Any]], folder: Path) -> tuple[str, ...]:
    """Return the columns of the first config, as its files have them.

    Args:
        configs: of the data set.
        folder: that holds the files.
    """
    schemas = (_schema(files, folder) for config in configs[:1] for files in _file_sets(config))
    return tuple(dict.fromkeys(name for schema in schemas if schema for name in schema))


def _description(facts: CardFacts) -> str:
    synthetic = f" ({facts.synthetic:,} synthetic)" if facts.synthetic else ""
    domains = sum(1 for domain in facts.domains if domain.after)
    rows = f"{count(facts.train, 'train row')}{synthetic} in {count(domains, 'domain')}, {count(facts.held_out, 'row')} held out"
    return f"{rows}: the snapshot {facts.manifest} ({facts.fingerprint}) of a balanced manifest."


def _file_sets(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the files of each split of a config."""
    name = str(config["config_name"])
    paths: dict[str, list[str]] = {}
    for entry in config.get("data_files", ()):
        found = entry["path"]
        paths.setdefault(str(entry.get("split", "train")), []).extend([found] if isinstance(found, str) else found)
    for split, patterns in paths.items():
        includes: Any = patterns[0] if len(patterns) == 1 else patterns
        label = f"{name}-{split}-files"
        yield {"@type": "cr:FileSet", "@id": label, "name": label, "encodingFormat": _PARQUET, "includes": includes}


def _schema(files: Mapping[str, Any], folder: Path) -> pl.Schema | None:
    """Return the columns of some files; None where there are none."""
    patterns = [files["includes"]] if isinstance(files["includes"], str) else files["includes"]
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return pl.Schema(pl.read_parquet_schema(found[0])) if found else None


def _record_set(files: Mapping[str, Any], schema: pl.Schema) -> dict[str, Any]:
    name = str(files["@id"]).removesuffix("-files")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [_field(files["@id"], name, column, kind) for column, kind in schema.items()],
    }


def _field(files: str, records: str, column: str, kind: pl.DataType) -> dict[str, Any]:
    source = {"fileSet": {"@id": files}, "extract": {"column": column}}
    inner, repeated = (kind.inner, True) if isinstance(kind, pl.List) else (kind, False)
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{records}/{column}", "name": column, "source": source}
    field |= {"description": ABOUT[column]} if column in ABOUT else {}
    field |= {"repeated": True} if repeated else {}
    if isinstance(inner, pl.Struct):
        return field | {"subField": [_sub_field(field, source, part.name) for part in inner.fields]}
    return field | {"dataType": _data_type(inner)}


def _sub_field(field: Mapping[str, Any], source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a key of a column of structs; what it holds is described as text."""
    at = {**source, "transform": {"jsonPath": name}}
    return {"@type": "cr:Field", "@id": f"{field['@id']}/{name}", "name": name, "dataType": "sc:Text", "source": at}


def _data_type(kind: Any) -> str:
    if kind.is_integer():
        return "sc:Integer"
    if kind.is_float():
        return "sc:Float"
    return "sc:Boolean" if kind == pl.Boolean else "sc:Text"


def _responsible(facts: CardFacts) -> dict[str, Any]:
    """Return what is known for the vocabulary of responsible AI."""
    sources = [
        f"{clean(source.address)} ({clean(source.kind)}, {count(source.rows, 'row')}, licence "
        f"{clean(source.licence) if source.licence else 'not stated'})"
        for source in facts.sources
    ]
    teachers = [clean(name) for name in facts.teachers]
    found = {
        "rai:dataCollection": f"Rows of {'; '.join(sources)}. How those were collected is not known." if sources else None,
        "rai:dataPreprocessingProtocol": _selection(facts),
        "rai:dataAnnotationProtocol": _annotation(facts, teachers),
        "rai:dataAnnotationAnalysis": _audit(facts),
        "rai:machineAnnotationTools": teachers or None,
        "rai:dataBiases": _biases(facts),
        "rai:dataLimitations": [*limits(facts, clean)],
        "rai:dataUseCases": "Fine-tuning of language models, and evaluation on the held-out rows.",
        "rai:personalSensitiveInformation": "Not looked for.",
    }
    return {key: value for key, value in found.items() if value}


def _selection(facts: CardFacts) -> str:
    newest = facts.newest
    if not newest:
        return ""
    said = [
        f"{key} {clean(newest[key])}" for key in ("budget", "stages", "policy", "selector", "seed") if newest.get(key) is not None
    ]
    return f"Train rows were chosen per domain by {newest['verb']}: {', '.join(said)}."


def _annotation(facts: CardFacts, teachers: Sequence[str]) -> str:
    if not (facts.synthetic or facts.rationales):
        return ""
    prompts = "; ".join(f"{purpose} {', '.join(map(clean, versions))}" for purpose, versions in facts.prompts.items())
    return (
        f"Machine-generated: {count(facts.synthetic, 'whole row')} of the train split (source is synthetic), the rationales of "
        f"{count(facts.rationales, 'real row')}, by {', '.join(teachers) or 'a model that is not known'}"
        f"{f'; versions of the prompts: {prompts}' if prompts else ''}."
    )


def _audit(facts: CardFacts) -> str:
    said = [
        f"{clean(each.auditor)}: {each.rejected:,} rejected, {each.noted:,} noted, threshold {each.threshold:g}, "
        f"{MEASURED.get(each.auditor, 'how often it is right was not measured')}"
        for each in facts.auditors
    ]
    return f"Findings of auditors over all rows and attempts. {'; '.join(said)}." if said else ""


def _biases(facts: CardFacts) -> str:
    lines = ["Domains were balanced on purpose, so their shares are not those of the sources."] if facts.newest else []
    if facts.synthetic:
        lines.append(
            "Synthetic rows carry the biases of the model that wrote them; rows of small domains are synthetic more often."
        )
    return " ".join(lines)
