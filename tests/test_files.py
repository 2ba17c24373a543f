"""Files and folders are whole or not there, whatever stops their writing."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from curate import files

NAMES = ["plain.json", "with spaces.json", "Jürgen 数学.json", "[a]*?.json", "no ending", ".hidden", "two.dots.keys.npy"]
STOPS = [OSError(28, "No space left on device"), ValueError("a bug"), KeyboardInterrupt()]


def left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def half(error: BaseException, *, folder: bool = False) -> Callable[[Path], None]:
    """Return something that writes half of a file or folder, and stops."""

    def write(part: Path) -> None:
        (part / "half" if folder else part).write_text("half")
        raise error

    return write


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_written_and_replaced_whole(tmp_path: Path, name: str, sync: bool) -> None:
    folder = tmp_path / "My Projects ü"
    folder.mkdir()
    for text in ("one", "two"):
        seen: list[str] = []

        def write(part: Path, text: str = text, seen: list[str] = seen) -> None:
            seen += [part.suffix, *left(folder)]
            part.write_text(text)

        assert files.write_whole(folder / name, write, sync=sync) == folder / name
        assert seen == [(folder / name).suffix or ".part", *([name] if text == "two" else [])], (
            "what is there stays, until it is replaced"
        )
        assert (folder / name).read_text() == text
        assert left(folder) == [name]


@pytest.mark.parametrize("error", STOPS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", NAMES)
def test_a_write_that_stops_leaves_the_old_file_and_no_part(tmp_path: Path, name: str, error: BaseException) -> None:
    with pytest.raises(type(error)):
        files.write_whole(tmp_path / name, half(error))
    assert left(tmp_path) == []
    (tmp_path / name).write_text("old")
    with pytest.raises(type(error)):
        files.write_whole(tmp_path / name, half(error))
    assert left(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "old"


def test_a_file_in_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write_whole(tmp_path / "gone" / "file", lambda part: part.write_text("x"))


def test_what_a_crash_left_is_swept_up_once_it_is_old(tmp_path: Path) -> None:
    mine, others = tmp_path / ".a.0123.part.json", tmp_path / ".ab.0123.part.json"
    for path in (mine, others):
        path.write_text("half")
    files.write_whole(tmp_path / "a.json", lambda part: part.write_text("whole"))
    assert mine.exists(), "another process may be writing it"
    for path in (mine, others):
        os.utime(path, (time.time() - 100_000,) * 2)
    files.write_whole(tmp_path / "a.json", lambda part: part.write_text("whole"))
    assert left(tmp_path) == [".ab.0123.part.json", "a.json"]


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "my model ü"
    made: list[Path] = []

    def make(part: Path) -> None:
        assert not folder.exists()
        made.append(part)
        (part / "sub").mkdir()
        (part / "sub" / "file").write_text("whole")
        (part / "sub" / "file").chmod(0o444)

    for _ in range(2):
        files.make_folder_once(folder, make)
    assert len(made) == 1
    assert left(folder) == ["sub", "sub/file"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("error", STOPS, ids=lambda error: type(error).__name__)
def test_a_folder_whose_making_stops_is_not_there(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        files.make_folder_once(tmp_path / "folder", half(error, folder=True))
    assert left(tmp_path) == []


def test_the_folder_of_a_process_that_was_first_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "folder"

    def make(part: Path) -> None:
        (part / "file").write_text("second")
        folder.mkdir()
        (folder / "file").write_text("first")

    files.make_folder_once(folder, make)
    assert (folder / "file").read_text() == "first"
    assert left(tmp_path) == ["folder", "folder/file"]


def test_a_folder_is_replaced_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "adapter"
    for text in ("one", "two"):

        def make(part: Path, text: str = text) -> None:
            assert folder.exists() == (text == "two")
            (part / text).write_text(text)

        files.replace_folder(folder, make)
        assert left(folder.parent) == ["adapter", f"adapter/{text}"]


@pytest.mark.parametrize("error", STOPS, ids=lambda error: type(error).__name__)
def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "adapter"
    files.replace_folder(folder, lambda part: (part / "file").write_text("old"))
    with pytest.raises(type(error)):
        files.replace_folder(folder, half(error, folder=True))
    assert left(tmp_path) == ["adapter", "adapter/file"]
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if (path / "new").exists():
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        files.replace_folder(folder, lambda part: (part / "new").write_text("new"))
    assert left(tmp_path) == ["adapter", "adapter/file"]


def test_folders_change_places_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not files._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system renames one folder at a time")
    assert left(tmp_path) == ["a", "a/b", "b", "b/a"]
    assert not files._exchange(tmp_path / "a", tmp_path / "none")
    monkeypatch.setattr(Path, "rename", None)  # there is no moment in which neither has the name
    files.replace_folder(tmp_path / "a", lambda part: (part / "new").touch())
    assert left(tmp_path) == ["a", "a/new", "b", "b/a"]


def test_roots_and_what_is_below_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.find_root() == "."
    monkeypatch.setenv("CURATE_ROOT", str(tmp_path))
    assert files.find_root() == str(tmp_path)
    assert files.find_root("elsewhere") == "elsewhere"
    assert files.cache_folder(str(tmp_path)) == tmp_path / "cache"
    assert files.ledger_path(str(tmp_path)) == tmp_path / "manifests" / "ledger.sqlite"
    assert files.runs_folder(str(tmp_path)) == tmp_path / "manifests" / "runs"
    assert files.runs_folder("s3://bucket") == Path("manifests") / "runs"
    assert files.cache_folder("s3://bucket") == Path("cache")
    assert files.ledger_path("s3://bucket") == Path("manifests") / "ledger.sqlite"


def test_a_folder_is_moved_as_a_whole_and_over_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("x")
    files.move_folder(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in tmp_path.rglob("*")] == ["b", "x"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for taken in ("empty", "link"):
        with pytest.raises(FileExistsError, match=f"'{taken}' exists"):
            files.move_folder(tmp_path / "b", tmp_path / taken)
    assert (tmp_path / "b" / "x").read_text() == "x"


def test_a_folder_is_removed_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("x")
    seen: list[list[str]] = []
    monkeypatch.setattr(files, "_remove", lambda path: seen.append([entry.name for entry in tmp_path.iterdir()]))
    files.remove_folder(tmp_path / "a")
    (left,) = seen[-1]
    assert left.startswith(".a."), "before its files go, its name is gone"
