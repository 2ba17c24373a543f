"""Figures of predictions: equal to a library's, or to values that it gave."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.evaluation import metrics

labels = st.lists(st.sampled_from(["grain", "wheat", "corn", "L-Cattle"]), max_size=4, unique=True)


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=12))
def test_label_f1_is_that_of_scikit_learn(rows: list[tuple[list[str], list[str]]]) -> None:
    from sklearn.metrics import f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    names = sorted({label for _, true in rows for label in true})
    every = sorted({label for pair in rows for labels in pair for label in labels})
    found = metrics.label_f1([", ".join(said) for said, _ in rows], ["; ".join(true) for _, true in rows], ["d"] * len(rows))
    if not names:
        assert found["macro"] == 0.0
        return
    table = MultiLabelBinarizer(classes=[*every, "~"])  # of one column alone the library would count what is not in it, too
    said, true = (table.fit_transform([row[n] for row in rows]) for n in (0, 1))
    of_names = [every.index(name) for name in names]
    assert found["macro"] == pytest.approx(f1_score(true, said, labels=of_names, average="macro", zero_division=0.0))
    assert found["micro"] == pytest.approx(f1_score(true, said, average="micro", zero_division=0.0))


def test_labels_are_read_in_any_order_case_and_dress() -> None:
    for said in ("wheat, grain", '["Grain", "wheat"]', "grain | wheat", "grain\nwheat"):
        assert metrics.label_f1([said], ["grain, wheat"], ["d"]) == {"macro": 1.0, "micro": 1.0}


@pytest.mark.parametrize(("said", "wanted", "value"), [
    ("the cat sat on the mat", "the cat was on a mat", 0.666667),
    ("police killed the gunman", "police kill the gunman", 0.75),
    ("the gunman kill police", "police kill the gunman", 0.5),
    ("It's 5 o'clock, U.S. time.", "it is 5 o clock US time", 0.666667),
    ("a b c d e f g", "g f e d c b a", 0.142857),
    ("", "nothing", 0.0),
])  # fmt: skip
def test_rouge_l_is_that_of_rouge_score(said: str, wanted: str, value: float) -> None:
    """The values are those of rouge_score 0.1.2, rougeL without stemming."""
    assert metrics.rouge_l([said], [wanted], ["d"])["micro"] == pytest.approx(value, abs=1e-6)


words = st.lists(st.sampled_from("abcd"), max_size=8)


@given(words, words)
def test_the_longest_common_subsequence_is_that_of_a_naive_twin(one: list[str], other: list[str]) -> None:
    def naive(a: list[str], b: list[str]) -> int:
        if not a or not b:
            return 0
        return naive(a[1:], b[1:]) + 1 if a[0] == b[0] else max(naive(a[1:], b), naive(a, b[1:]))

    assert metrics._longest_common(one, other) == naive(one, other)


def test_means_count_domains_once() -> None:
    found = metrics.rouge_l(["a", "b", "c"], ["a", "b", "d"], ["x", "y", "y"])
    assert found == pytest.approx({"macro": 0.75, "micro": 2 / 3})
