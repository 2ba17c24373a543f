"""`baldistill merge`: a trained student as a folder that others load: full weights with tokenizer and card, or its adapter.

A folder that holds anything else is refused, and one that an earlier merge wrote is replaced once the new one is whole.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baldistill.share.model_card import base_licence, model_card
from baldistill.share.settings import MergeSettings
from baldistill.share.trained import Trained, find_trained
from baldistill.student import adapters, students
from curate import models, progress
from curate.defaults import DEFAULT_STUDENT
from curate.errors import InputError, ModelError
from curate.export.destination import open_destination
from curate.files import reason
from curate.hub.push import SCHEME, PushResult, push
from curate.settings import takes

__all__ = ["MergeResult", "merge"]

_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", adapters.RECORD)


@dataclass(frozen=True)
class MergeResult:
    """What `merge` wrote.

    Attributes:
        student: that was merged, as the run or the folder is called.
        base: the base model.
        folder: that was written; None where it went to the Hub alone.
        files: in it.
        size: bytes of them.
        licence: of the base student; None where it is not known.
        adapter_only: whether the adapter was left by itself.
        pushed: what is at the Hub now, where it went there.
    """

    student: str
    base: str
    folder: Path | None
    files: tuple[str, ...]
    size: int
    licence: str | None
    adapter_only: bool
    pushed: PushResult | None = None


@takes(MergeSettings)
def merge(source: str, settings: MergeSettings) -> MergeResult:
    """Merge a trained student's adapter into its base model, and write what comes of it with a card.

    Args:
        source: name of a run, whose last stage is taken, or the folder of an adapter.

    Raises:
        InputError: there is no such student, or the folder holds something else.
        ModelError: the weights cannot be loaded, or the adapter does not belong to them.
        HubError: the Hub cannot be reached, or refuses.
    """
    to_hub = settings.to is not None
    if to_hub and not str(settings.to).startswith(SCHEME):
        raise InputError(f"--to {settings.to}: is for the Hub, such as {SCHEME}ORG/NAME; a folder is --output FOLDER")
    for flag in ("public", "dry_run"):
        if getattr(settings, flag) and not to_hub:
            raise InputError(f"--{flag.replace('_', '-')} is for --to {SCHEME}ORG/NAME: leave it out")
    trained = find_trained(source, stage=settings.stage, root=settings.root)
    if trained.adapter is None:
        raise InputError(f"{trained.name} has no adapter, so there is nothing to merge: name a stage from 0 up")
    name = settings.student or trained.student or DEFAULT_STUDENT
    try:
        weights = models.find(name)
    except ModelError as e:
        if settings.student or "/" in name:
            raise
        raise ModelError(
            f"{trained.name} was trained on {name!r}, a model in a folder of this name: say where it is with --student FOLDER"
        ) from e
    adapters.check(trained.adapter, weights)
    licence = base_licence(weights)
    if licence is None:
        progress.note("merge", f"the licence of {weights.label} is not known here, so the card states none")
    if settings.output is None and to_hub:
        with tempfile.TemporaryDirectory(prefix="merge-") as aside:
            done = _write(trained, weights, settings, Path(aside) / "student", licence)
            return _pushed(done, trained, settings, keep=False)
    done = _write(trained, weights, settings, Path(settings.output or _default(trained)), licence)
    return _pushed(done, trained, settings, keep=True) if to_hub else done


def _default(trained: Trained) -> Path:
    name = f"{trained.run}-stage-{trained.stage}" if trained.run else trained.name
    return Path("exports") / f"{name}-student"


def _write(trained: Trained, weights: models.Weights, settings: MergeSettings, folder: Path, licence: str | None) -> MergeResult:
    manifests = None if "://" in trained.root else Path(trained.root) / "manifests"
    dtype = models.resolve_dtype(settings.dtype)
    title = f"{trained.run}, stage {trained.stage}" if trained.run else trained.name
    card = model_card(trained, weights, title=title, adapter=settings.adapter_only, dtype=dtype, licence=licence)

    def make(part: Path) -> list[Path]:
        if settings.adapter_only:
            assert trained.adapter is not None
            for name in _ADAPTER:
                if (trained.adapter / name).is_file():
                    shutil.copy2(trained.adapter / name, part / name)
        else:
            _save_merged(trained, weights.name, part, dtype)
        (part / "README.md").write_text(card, encoding="utf-8")
        return sorted(path for path in part.rglob("*") if path.is_file())

    try:
        destination = open_destination(folder, manifests=manifests, force=settings.force)
        found = destination.write(make, {"format": "student", "student": trained.name})
    except OSError as e:
        raise InputError(f"merge of {trained.name}: {str(folder)!r} cannot be written: {reason(e)}") from e
    files = tuple(path.relative_to(destination.folder).as_posix() for path in found)
    return MergeResult(
        trained.name,
        weights.label,
        folder,
        files,
        sum((destination.folder / name).stat().st_size for name in files),
        licence,
        settings.adapter_only,
    )


def _save_merged(trained: Trained, name: str, part: Path, dtype: str) -> None:
    """Write full weights: merged in fp32, so that a small change is not lost to rounding before it is added."""
    import torch

    student = students.load(name, adapter=trained.adapter, dtype="fp32", root=trained.root)
    model = student.model.to("cpu")
    model = model.to(torch.bfloat16) if dtype == "bf16" else model
    progress.note("merge", f"{student.name}: full weights in {dtype}")
    try:
        model.save_pretrained(part)
        student.tokenizer.save_pretrained(part)
    except (ValueError, RuntimeError) as e:
        raise ModelError(f"{trained.name} cannot be saved: {' '.join(str(e).split())[:300]}") from e


def _pushed(done: MergeResult, trained: Trained, settings: MergeSettings, *, keep: bool) -> MergeResult:
    assert done.folder is not None
    about: dict[str, Any] = {"student": trained.name, "base": done.base}
    about |= {"snapshot": trained.record["snapshot"]} if trained.record.get("snapshot") else {}
    pushed = push(
        done.folder,
        str(settings.to),
        repo_type="model",
        private=not settings.public,
        message=f"{trained.name}: {'adapter' if done.adapter_only else 'merged weights'}",
        files=[done.folder / name for name in done.files],
        about=about,
        force=settings.force,
        dry_run=settings.dry_run,
    )
    return MergeResult(**{**vars(done), "folder": done.folder if keep else None, "pushed": pushed})
