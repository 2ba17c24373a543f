"""The commands of ``curate``. A verb's options come from its settings class; a command with its own body is written out."""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from curate.audit.settings import AuditSettings
from curate.balance.settings import AnnotateSettings, BalanceSettings, SynthesizeSettings
from curate.cards.settings import CardSettings
from curate.errors import InputError
from curate.export.settings import ExportSettings
from curate.housekeeping.settings import DeleteSettings, RenameSettings, UnselectSettings
from curate.ledger.settings import LedgerExportSettings, LedgerImportSettings
from curate.report.settings import ProfileSettings, ShowSettings
from curate.selection.settings import SampleSettings, SelectSettings
from curate.sources.settings import IngestSettings
from curate.terminal.commands import Json, Name, Root, command, make_app, settings_verb
from curate.vectors.settings import ClusterSettings, EmbedSettings

__all__ = ["app", "main"]


MAKE, LOOK, BALANCE, KEEP = "Make a manifest", "Look at it", "Balance it", "Export and share"
TIDY = "Take back, rename and delete"

WholeName = Annotated[str, Argument(metavar="NAME", help="Manifest: NAME, without a version.", show_default=False)]

LedgerFile = Annotated[
    str, Argument(metavar="FILE", help="File to write, such as answers.jsonl.zst; .gz and .zst are compressed.")
]
ImportedFile = Annotated[str, Argument(metavar="FILE", help="File that ledger-export wrote.")]
Sources = Annotated[list[str], Argument(metavar="SOURCE...", help="Files, folders, globs or hf://org/name[@revision][:config].")]

app = make_app("curate", "Balance long-tailed data for fine-tuning language models, within a budget.")


settings_verb(
    app,
    IngestSettings,
    "curate.sources.ingest:ingest",
    MAKE,
    "Add JSONL, CSV, TSV, Parquet or data sets to a manifest.",
    subject=("sources", Sources),
)


settings_verb(
    app,
    SampleSettings,
    "curate.selection.sample:sample",
    MAKE,
    "Draw train rows so that the sizes of the domains follow Zipf's law.",
)
settings_verb(
    app,
    EmbedSettings,
    "curate.vectors.embed:embed",
    MAKE,
    "Fill the vector cache with the vectors of all prompts; commits nothing.",
)
settings_verb(
    app,
    ClusterSettings,
    "curate.vectors.cluster:cluster",
    MAKE,
    "Cluster each domain's train rows, and make domains for rows without one.",
)
settings_verb(
    app,
    ProfileSettings,
    "curate.report.profile:profile",
    LOOK,
    "Show the sizes of the domains, as bars, and how far they are from balanced.",
)


@command(app, LOOK, name="list")
def list_manifests(*, json: Json = False, root: Root = None) -> Any:
    """List the manifests: rows, size, newest version, and what was done last."""
    from curate.housekeeping import listing

    return listing.list_manifests(root=root)


settings_verb(app, ShowSettings, "curate.report.show:show", LOOK, "Show rows as a person reads them, filtered, or one by its id.")


@command(app, LOOK)
def log(name: Name, *, json: Json = False, root: Root = None) -> Any:
    """List the commits: version, time, verb and what it did."""
    from curate.manifest import history, manifest

    return history.log(manifest.load(name, root=root))


@command(app, LOOK)
def diff(
    name: Name,
    *,
    old: Annotated[
        str | None,
        Option(
            metavar="VERSION", help="Version to compare with: a number, a tag or NAME@VERSION; default: the previous version."
        ),
    ] = None,
    json: Json = False,
    root: Root = None,
) -> Any:
    """Show what changed since another version, per column and domain."""
    from curate.manifest import history, manifest

    return history.diff(manifest.load(name, root=root), old=old)


@command(app, LOOK)
def explain(
    name: Name,
    row: Annotated[str, Argument(metavar="ROW", help="Id of the row, or its first digits.")],
    *,
    json: Json = False,
    root: Root = None,
) -> Any:
    """List every decision about one row, in order."""
    from curate.manifest import manifest
    from curate.report import explain

    return explain.explain(manifest.load(name, root=root), row)


@command(app, LOOK)
def ledger(
    name: Name,
    *,
    calls: Annotated[bool, Option("--calls", help="List every call instead, with its cost and reply.")] = False,
    call: Annotated[int | None, Option(metavar="ID", help="Show one call in full instead, with its prompt and reply.")] = None,
    json: Json = False,
    root: Root = None,
) -> Any:
    """Show what was charged for this manifest: in total, per stage, domain and model, or call by call."""
    from curate.manifest import manifest
    from curate.report import costs
    from curate.report.costs import read_call, read_receipts

    handle = manifest.load(name, root=root)
    if calls:
        return read_receipts(handle)
    return costs.read_costs(handle) if call is None else read_call(handle, call)


settings_verb(
    app,
    SelectSettings,
    "curate.selection.select:select",
    BALANCE,
    "Select rows per domain without a teacher, or compare the selectors.",
)
settings_verb(
    app,
    BalanceSettings,
    "curate.balance.balance:balance",
    BALANCE,
    "Select, annotate and complete every domain's rows within a budget.",
)
settings_verb(
    app,
    AnnotateSettings,
    "curate.balance.annotate:annotate",
    BALANCE,
    "Ask a teacher for the rationales that selected rows lack.",
)
settings_verb(
    app,
    SynthesizeSettings,
    "curate.balance.synthesize:synthesize",
    BALANCE,
    "Ask a teacher for new examples of some domains, as candidates.",
)


@command(app, LOOK)
def prompt(
    purpose: Annotated[str, Argument(metavar="PURPOSE", help="What it asks a teacher for: rationale or synthesis.")],
    *,
    kind: Annotated[
        str,
        Option(
            metavar="KIND",
            help="Kind of task: classification, multiple-choice, mathematics, open-question or instruction.",
            show_default=False,
        ),
    ],
    json: Json = False,
) -> Any:
    """Print a built-in prompt template, as a starting point for your own."""
    from curate.generation import prompts

    return prompts.built_in(purpose, kind)


settings_verb(app, AuditSettings, "curate.audit.audit:audit", BALANCE, "Judge rows, and write the findings into the manifest.")


@command(app, KEEP)
def tag(
    name: Name,
    tag: Annotated[str | None, Argument(metavar="TAG", help="Name for this version; default: list all tags.")] = None,
    *,
    force: Annotated[bool, Option("--force", help="Move the tag if it names another version.")] = False,
    json: Json = False,
    root: Root = None,
) -> Any:
    """Tag a version with a name, or list the tags."""
    from curate.manifest import history, manifest

    handle = manifest.load(name, root=root)
    if tag is not None:
        handle.tag(tag, force=force)
    return history.tags(handle)


settings_verb(
    app,
    ExportSettings,
    "curate.export.export:export",
    KEEP,
    "Write the selected rows, and the held-out splits, as files that trainers read.",
)


settings_verb(
    app,
    CardSettings,
    "curate.cards.card:card",
    KEEP,
    "Show the card that an export to a data set has: its text and its header.",
)


settings_verb(
    app,
    LedgerExportSettings,
    "curate.ledger.transfer:ledger_export",
    KEEP,
    "Write the replies of teachers into one file, for another machine.",
    subject=("destination", LedgerFile),
)
settings_verb(
    app,
    LedgerImportSettings,
    "curate.ledger.transfer:ledger_import",
    KEEP,
    "Add the replies of another ledger, which then cost nothing here.",
    subject=("source", ImportedFile),
)


@command(app, TIDY)
def restore(name: Name, *, json: Json = False, root: Root = None) -> Any:
    """Make an old version, NAME@VERSION, the newest again."""
    from curate.housekeeping import restore
    from curate.manifest import manifest

    return restore.restore(manifest.load(name, root=root))


settings_verb(
    app,
    UnselectSettings,
    "curate.housekeeping.unselect:unselect",
    TIDY,
    "Take selected rows back to candidates: of a stage, of domains, by id, or all.",
)
settings_verb(
    app,
    RenameSettings,
    "curate.housekeeping.rename:rename",
    TIDY,
    "Give a manifest another name; what was charged to it goes along.",
    subject=("old", WholeName),
)


def _ask_to_delete(options: dict[str, Any]) -> None:
    """Show what would go, and have its name typed; where there is no terminal, the verb refuses without --yes."""
    if options["yes"]:
        return
    from curate.files import find_root
    from curate.housekeeping import listing
    from curate.manifest import folders
    from curate.terminal import console

    name = options["target"]
    folders.find_folder(name, root=options["root"])
    found = listing.describe(name, root=find_root(options["root"]))
    answer = console.ask(f"{name} has {found.summary()}. Type its name to delete it: ")
    options["yes"] = answer == name
    if answer is not None and answer != name:
        raise InputError(f"{name!r} was not deleted: {answer!r} is not its name")


settings_verb(
    app,
    DeleteSettings,
    "curate.housekeeping.delete:delete",
    TIDY,
    "Delete a manifest; what the ledger has of it stays.",
    subject=("target", WholeName),
    ask=_ask_to_delete,
)


def main() -> None:
    """Run ``curate``."""
    app()
