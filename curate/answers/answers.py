"""Final answers: what kind a domain has, which one a text states, and when two are equal.

Audits and evaluations use the same functions, so that a student is graded by the rule that graded its teacher. There are
four kinds: ``number`` (anything mathematical, LaTeX included), ``choice`` (the letter of an option offered in the prompt),
``label`` (one of few class names) and ``text`` (the rest). What cannot be read is None; nothing is guessed.
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from curate.answers import mathematics, quantities, texts
from curate.answers.labels import label
from curate.answers.letters import choices, letter
from curate.answers.numbers import number
from curate.answers.statements import bare, reply_of, sentence
from curate.answers.texts import words

__all__ = [
    "AUTO",
    "KINDS",
    "SAYABLE",
    "SHORT_ANSWER",
    "TASKS",
    "choices",
    "compare",
    "contradicts",
    "equal",
    "extract",
    "f1",
    "kind_of",
    "read_kind",
    "recognise",
    "row_kind",
    "task_of",
    "text_distance",
    "words",
]

# Kinds of answers: ``number`` is anything mathematical, LaTeX included; ``choice`` the letter of an option that the prompt
# offers; ``label`` one of few class names; ``text`` the rest.
KINDS = ("number", "choice", "label", "text")

# What a teacher or a student is asked to do; follows from the kind of answer, and for texts from their length.
TASKS = ("classification", "multiple-choice", "mathematics", "open-question", "instruction")
_TASK_OF = {"label": "classification", "choice": "multiple-choice", "number": "mathematics"}
_LONG_ANSWER = 12  # words; where the middle answer of a domain has more, it follows an instruction

# What somebody may say of a domain or a row: a kind, a task, which says more of texts, or that it is to be recognised.
AUTO = "auto"
SAYABLE = (*KINDS, *TASKS, AUTO)
_KIND_OF = {task: kind for kind, task in _TASK_OF.items()}

SHORT_ANSWER = 8  # words; a longer free text may say the same in other words
_EXPLAINED = 0.4  # distance of a short text that holds the right one and more
_TITLED = 0.2  # distance of a name that lacks a title, or has one more
_TITLES = texts.listed("dr mr mrs ms miss prof professor sir dame lord lady saint st king queen president jr sr mount mt")
_DENYING = texts.listed("not no never neither nor cannot without none")
_FUNCTION_WORDS = texts.listed(
    "a an the of in on at by to from for with is was are were be been that which who whose where when because since as and or "
    "but if than then into near under over between during after before about it he she they his her their its this these those "
    "also maybe perhaps only has have had would could will can did does do i we you our my "
    "em en de del da do dos das na no nas nos à au aux du des dans par pour sur avec com con por para que qui und et y e ou oder "
    "ist est es é im am auf von mit aus bei bis zu der die das в на с и по из у к от di ke dari yang dan pada"
)
_COMPOUND_WORDS = 2  # after a name, up to the end or a function word, that make another name of it; more are a sentence
_MOST_STEPS, _ROWS_OF_STEP = 11, 4  # of a scale: 0 to 10, and rows for each on average
_SCALE = re.compile(
    r"\b(?:rat(?:e|es|ed|ing|ings)|stars?|scale|scor(?:e|es|ing)|grade|likert|label(?:led)?|class(?:ify|es)?|categor(?:y|ies|ize)"
    r"|sentiment|toxic|how\s(?:satisfied|likely|much\sdo\syou\sagree)|sterne|bewerte\w*|note[rz]?|étoiles|estrellas|califica\w*)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(r"(?:不是|并非|並非|不在|\b(?:not|nicht|pas|не|não|bukan))\s?$")  # before a name that is not the answer
_SHORT_WORDS, _SHORT_CHARS = 5, 40  # a class name is no longer than this


def read_kind(said: str | None) -> tuple[str, str | None] | None:
    """Return the kind, and the task where it says one, that somebody said; None where it is to be recognised.

    Args:
        said: one of `SAYABLE`, or None.
    """
    if said is None or said not in SAYABLE or said == AUTO:
        return None
    return (said, None) if said in KINDS else (_KIND_OF.get(said, "text"), said)


def task_of(kind: str, answers: Sequence[str] = ()) -> str:
    """Return which of `TASKS` a domain is: by its kind of answer, and texts by the length of the middle one."""
    lengths = [len(answer.split()) for answer in answers if answer.strip()]
    long = bool(lengths) and statistics.median(lengths) > _LONG_ANSWER
    return _TASK_OF.get(kind) or ("instruction" if long else "open-question")


def row_kind(prompt: str, answer: str, labels: Collection[str] = ()) -> str:
    """Return the kind of one row's answer: the letter of an option that its prompt offers, one number, a class name, or text.

    Args:
        prompt: the question with its options.
        answer: its answer.
        labels: class names that rows beside it have.
    """
    if bare(answer) in choices(prompt) and len(bare(answer)) == 1:
        return "choice"
    if re.search(r"\d", answer) and mathematics.quantity(answer) is not None:
        return "number"
    return "label" if answer.strip() in labels else "text"


def kind_of(prompts: Sequence[str], answers: Sequence[str]) -> str:
    """Return the kind of answer that these examples have, one of `KINDS`; see `recognise`."""
    return recognise(prompts, answers)[0]


def recognise(prompts: Sequence[str], answers: Sequence[str]) -> tuple[str, str]:
    """Return the kind of answer that these examples have, and in a phrase by what it is recognised.

    ``choice``: 95% of the answers are single letters, of any alphabet, and 80% of the prompts offer options by them. ``label``
    by figures: see `_is_scale`. ``number``: 80% are mathematical and fewer than half are lists (a sorted list has an order, which
    sets of solutions have not, so lists are ``text``). ``label``: 95% are short, and there are at most as many different ones
    as a quarter of the rows.
    """
    filled = [(prompt, answer.strip()) for prompt, answer in zip(prompts, answers, strict=True) if answer and answer.strip()]
    if not filled:
        return "text", "no row has an answer"
    distinct = Counter(answer for _, answer in filled)
    n = len(filled)
    if sum(len(bare(a)) == 1 and bare(a).isalnum() for _, a in filled) >= 0.95 * n:
        offered = sum(bare(a) in found or bare(a).upper() in found for p, a in filled if (found := choices(p)))
        if offered >= 0.8 * n:
            return "choice", "answers are letters of options in the prompts"
    if _is_scale(filled, distinct):
        return "label", "answers are steps of a scale"
    lettered = sum(bool(re.fullmatch(r"\(?[A-Za-z]\)?\.?", a)) for _, a in filled) >= 0.95 * n
    if not lettered and sum(mathematics.is_mathematical(a) * c for a, c in distinct.items()) >= 0.8 * n:
        lists = sum(c for a, c in distinct.items() if re.fullmatch(r"[\[(]?-?[\d.]+(?:\s*[, ]\s*-?[\d.]+)+[\])]?", a))
        return ("number", "answers are numbers or formulas") if lists < 0.5 * n else ("text", "answers are lists in an order")
    short = sum(len(a.split()) <= _SHORT_WORDS and len(a) <= _SHORT_CHARS for _, a in filled)
    if short >= 0.95 * n and len(distinct) <= max(1, n // 4, 2 if n >= 4 else 1):
        return "label", "answers are few short texts, each in many rows"
    return "text", f"answers are texts, {statistics.median_low([len(a.split()) for _, a in filled])} words in the middle"


def _is_scale(filled: Sequence[tuple[str, str]], distinct: Mapping[str, int]) -> bool:
    """Return whether answers are the steps of a scale, such as stars 1 to 5, and so class names and no results.

    They are at most `_MOST_STEPS` whole numbers, each many times over, close together and from -1, 0 or 1 on; and most prompts
    speak of a scale, or few hold a number other than its steps, as a problem of arithmetic would.
    """
    if not 2 <= len(distinct) <= _MOST_STEPS or len(filled) < _ROWS_OF_STEP * len(distinct):
        return False
    if not all(re.fullmatch(r"[-+]?\d{1,2}(?:\.0)?", answer) for answer in distinct):
        return False
    steps = sorted(int(float(answer)) for answer in distinct)
    if not -5 <= steps[0] <= 1 or steps[-1] - steps[0] > 2 * len(steps):
        return False
    about = sum(bool(_SCALE.search(prompt)) for prompt, _ in filled)
    foreign = sum(any(int(n) not in steps for n in re.findall(r"(?<![\d.])\d{1,6}(?![\d.])", prompt)) for prompt, _ in filled)
    return about >= 0.5 * len(filled) or foreign < 0.2 * len(filled)


def extract(text: str | None, kind: str, *, labels: Sequence[str] = (), prompt: str = "") -> str | None:
    """Return the final answer that a rationale or a student's reply states, or None where it is not clear.

    What follows the last "the answer is", ``\\boxed`` or ``####`` counts first. Without one: for ``number`` the last number
    of the last sentence; for ``choice`` the one letter that the last sentence names as the answer; for ``label`` the class name
    that is quoted, or that the last sentence about topic, label or category names, or a line of its own; for ``text`` a
    reply of one short sentence.

    Args:
        text: what was written.
        kind: one of `KINDS`.
        labels: class names, for ``label``; matched as whole words, the longest first, in any case.
        prompt: the question with its options, for ``choice``: an option's text stands for its letter.
    """
    text = reply_of(text or "")
    if not text:
        return None
    if kind == "label":
        return label(text, tuple(labels))
    if kind == "choice":
        return letter(text, prompt)
    return number(text) if kind == "number" else sentence(text)


def equal(a: str | None, b: str | None, kind: str) -> bool:
    """Return whether two final answers are the same one, for certain; see `compare`."""
    return compare(a, b, kind) is True


def compare(a: str | None, b: str | None, kind: str) -> bool | None:
    """Return whether two final answers are the same one; None where they cannot be compared.

    Numbers, quantities and LaTeX by value (`mathematics.compare`); letters and class names in any case; text by its words and
    signs, without case, articles and punctuation (after SQuAD, arXiv:1606.05250, which drops the signs too), where a date, a
    number or a quantity may be spelt in other ways.
    """
    if a is None or b is None or not a.strip() or not b.strip():
        return False
    if kind == "number":
        return mathematics.compare(a, b)
    if kind == "choice":
        a, b = texts.fold(bare(a)), texts.fold(bare(b))
        return a[:1] == b[:1] if min(len(a), len(b)) == 1 else a == b  # "B" is the letter of "B. nest"
    if kind == "label":
        return _label_key(a) == _label_key(b)
    return texts.same(a, b) or _same_quantity(a, b)


def _label_key(name: str) -> str:
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", texts.fold(bare(name))) or texts.fold(name)


def _same_quantity(a: str, b: str) -> bool:
    """Return whether two texts are one quantity or one time of day in two spellings: ``5 km`` and ``5000 m``."""
    if not re.search(r"\d", a) or not re.search(r"\d", b):
        return False
    x, y = (mathematics.quantity(text) for text in (a, b))
    if x is None and y is None and all(map(quantities.time_of_day, (a, b))):
        return mathematics.compare(a, b) is True
    return x is not None and y is not None and bool(x.unit) == bool(y.unit) and mathematics.compare(a, b) is True


def text_distance(found: str, gold: str, *, stated: bool = True) -> float:
    """Return how far a free text is from the right one, 0 to 1: a short one must say the same, a long one overlap.

    A short text that names another date, number, letter or sign, or another word, is another answer (1), and so is one that
    leaves out a part. One that holds the right answer and explains it further scores below the usual threshold (0.4). Of more
    than `SHORT_ANSWER` words the distance is 1 − `f1`, unless the numbers or denials in both differ.

    Args:
        found: what was stated.
        gold: the right text.
        stated: whether it was put as an answer; a long text that was not is not judged.
    """
    if equal(found, gold, "text"):
        return 0.0
    said, wanted = words(found), words(gold)
    if len(wanted) > SHORT_ANSWER:
        if not stated:
            return 0.0
        return 1.0 if contradicts(found, gold) else 1.0 - f1(found, gold)
    if _same_members(found, gold):
        return 0.0
    figures = all(re.fullmatch(r"-?[\d.]+", word) for word in wanted)
    if sorted(said) == sorted(wanted) or (figures and texts.numbers(found) != texts.numbers(gold)):
        return 1.0
    if _in_place(found, gold):
        return 1.0 - f1(found, gold)
    at = _position(said, wanted)
    if (
        not texts.holds(found, gold)
        or _DENIED.search(texts.fold(found).partition(texts.fold(gold))[0])
        or _denials(said) != _denials(wanted)
    ):
        return _TITLED if _untitled(said) == _untitled(wanted) != [] and texts.signs(found) == texts.signs(gold) else 1.0
    if not _stands_apart(found, gold):
        return 1.0
    rest = "#" if at is None else " ".join([*said[:at], "#", *said[at + len(wanted) :]])
    if re.search(r"\b(?:or|either|not|nor|neither|versus|vs)\b", rest):
        return 1.0
    if texts.numbers(gold) and texts.numbers(found) != texts.numbers(gold):
        return 1.0
    if re.search(r"^# and\b|\band #$", rest):
        return 1.0  # a list with further members
    return _EXPLAINED if len(said) <= 4 * len(wanted) + SHORT_ANSWER else 1.0


def contradicts(found: str, gold: str) -> bool:
    """Return whether a long text has a number that the right one has not, or more or fewer denials."""
    return _denials(words(found)) != _denials(words(gold)) or not set(texts.numbers(gold)) >= set(texts.numbers(found))


def _in_place(found: str, gold: str) -> bool:
    """Return whether a text is the first of two names of which the second says where, as ``Paris`` of ``Paris, France``."""
    parts = [part.strip() for part in gold.split(",")]
    return (
        len(parts) == 2
        and texts.same(found, parts[0])
        and all(re.fullmatch(r"[A-Z][^\W\d]*(?: [A-Z][^\W\d]*)*", part) for part in parts)
    )


def _stands_apart(found: str, gold: str) -> bool:
    """Return whether an answer within a longer one is a part that stands for itself, and none of a compound or a longer name.

    ``Paris, France``, ``the city of Paris`` and ``Paris (in France)`` say Paris; ``Paris Hilton`` and ``iron oxide`` say
    something else than ``Paris`` and ``iron``.
    """
    part = re.sub(r"^(?:an?|the)\s(?=.)", "", gold.strip(" .,;:!?。\"'"), flags=re.IGNORECASE)
    match = re.search(rf"(?<!\w){re.escape(part)}(?!\w)", found, re.IGNORECASE)
    if not match:
        return True
    before = re.search(r"(\S+)\s\Z", found[: match.start()])
    named = match.group()[0].isupper() and before and before[1][0].isupper() and before[1].isalpha()
    if named and before and before[1].casefold() not in _FUNCTION_WORDS | _TITLES and not before[1].endswith("ly"):
        return False
    after = re.match(r"(?:\s[\w'-]+)+", found[match.end() :])
    follows = list(
        itertools.takewhile(lambda word: word not in _FUNCTION_WORDS, after.group().casefold().split() if after else ())
    )
    return not 1 <= len(follows) <= _COMPOUND_WORDS


def _same_members(found: str, gold: str) -> bool:
    """Return whether two lists of words have the same members in any order: ``bread, milk and eggs``; figures have an order."""
    left, right = ([words(part) for part in _MEMBERS.split(text.strip(" .")) if words(part)] for text in (found, gold))
    if len(left) < 2 or len(left) != len(right) or not (re.search(r"\band\b|&", found + " " + gold, re.IGNORECASE)):
        return False
    if any(word[:1].isdigit() for part in left for word in part):
        return False
    return sorted(left) == sorted(right) and texts.signs(found) == texts.signs(gold)


_MEMBERS = re.compile(r"\s?[,;]\s?(?:and\s)?|\s(?:and|&)\s", re.IGNORECASE)


def _position(said: list[str], wanted: list[str]) -> int | None:
    """Return where a text's words begin in another's; None where they are not in it, as one run."""
    spots = (at for at in range(len(said) - len(wanted) + 1) if wanted and said[at : at + len(wanted)] == wanted)
    return next(spots, None)


def _denials(said: list[str]) -> int:
    return sum(word in _DENYING or word.endswith("n't") for word in said)


def _untitled(said: list[str]) -> list[str]:
    return [word for word in said if word not in _TITLES]


def f1(a: str | None, b: str | None) -> float:
    """Return the overlap of two texts' words, 0 to 1: harmonic mean of precision and recall (SQuAD, arXiv:1606.05250)."""
    left, right = words(a or ""), words(b or "")
    common = sum((Counter(left) & Counter(right)).values())
    return 2 * common / (len(left) + len(right)) if common else float(not left and not right)
