"""Events reach whoever listens, in order, and nobody else."""

import threading

import pytest

from curate import progress
from curate.progress import Event


def test_a_step_counts_from_nothing() -> None:
    heard: list[Event] = []
    with progress.listen(heard.append), progress.step("embed", 5) as counter:
        counter.advance()
        counter.advance(4, cached=3)
    assert [(e.done, e.total) for e in heard] == [(0, 5), (1, 5), (5, 5)]
    assert heard[-1].facts == {"cached": 3}


def test_a_note_is_a_sentence_with_figures() -> None:
    heard: list[Event] = []
    with progress.listen(heard.append):
        progress.note("models", "no download", size=3)
    assert heard == [Event("models", message="no download", facts={"size": 3})]


def test_nobody_has_to_listen() -> None:
    with progress.step("embed") as counter:
        counter.advance()
    assert counter.done == 1


def test_listening_ends_with_its_block() -> None:
    heard: list[Event] = []
    with pytest.raises(ValueError, match="stop"), progress.listen(heard.append):
        raise ValueError("stop")
    progress.note("embed", "unheard")
    assert heard == []


def test_inner_listeners_do_not_silence_outer_ones() -> None:
    outer: list[Event] = []
    inner: list[Event] = []
    with progress.listen(outer.append):
        with progress.listen(inner.append):
            progress.note("a", "both")
        progress.note("b", "outer")
    assert [e.step for e in outer] == ["a", "b"]
    assert [e.step for e in inner] == ["a"]


def test_another_thread_is_not_heard() -> None:
    heard: list[Event] = []
    with progress.listen(heard.append):
        thread = threading.Thread(target=progress.note, args=("embed", "elsewhere"))
        thread.start()
        thread.join()
    assert heard == []
