"""The words by which texts announce, deny and correct an answer, language by language: a table that users can extend.

The ten languages that most people speak, and four that data sets often have. `curate.answers.grammar` makes its patterns of all
of them at once, since a reply may mix two. Another language is added by `add`, or by a package under the entry-point group
``curate.languages``, whose entry is a function without arguments that returns a `Language`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from itertools import count

__all__ = ["ALPHABETS", "Language", "add", "known", "months", "remove", "version"]

_GROUP = "curate.languages"


@dataclass(frozen=True, kw_only=True)
class Language:
    """The words of one language that the rules of `curate.answers.statements` use; in any case, none is required.

    Attributes:
        answer: nouns that announce an answer, such as "answer".
        says: what stands between the noun and the value, such as "is"; empty strings are not needed.
        direct: whether the value may follow the noun at once, as in Japanese (答えは12です).
        ends: what closes such a sentence after the value, such as "です".
        denies: what stands in the place of `says` in a denial, such as "is not".
        denies_after: what follows the value in a denial, such as "ではない".
        corrects: openings after which a corrected value follows, such as "I mean".
        doubts: what stands before an answer that is doubted, such as "I don't think".
        negates: what stands before a value that is not the answer, in the middle of a sentence, such as "rather than".
        chooses: verbs before an option's letter, such as "choose".
        remains: what is said of the option that is left, or that fits, such as "remains".
        option: nouns before a letter or a class name, such as "option".
        correct: what is said of the right option, such as "correct".
        reasons: conjunctions that begin a reason, such as "because".
        concludes: words before a conclusion, such as "so".
        joins: words between the members of a list, such as "or".
        question: openings of a line that begins a new question, such as "Question".
        yes: words for yes; a class named ``yes`` in any language is meant by them.
        no: words for no.
        months: twelve names, January first.
        minus: words for the sign of a negative number, such as "minus".
        label: nouns for a class, such as "category".
        belongs: what stands between a text and its class, such as "belongs to".
        decimal_comma: whether 12,5 is twelve and a half.
    """

    answer: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    direct: bool = False
    ends: tuple[str, ...] = ()
    denies: tuple[str, ...] = ()
    denies_after: tuple[str, ...] = ()
    corrects: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    negates: tuple[str, ...] = ()
    chooses: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()
    option: tuple[str, ...] = ()
    correct: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    concludes: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()
    question: tuple[str, ...] = ()
    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()
    months: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    belongs: tuple[str, ...] = ()
    decimal_comma: bool = False


_TABLE: dict[str, Language] = {
    "en": Language(
        answer=(
            "answer",
            "answers",
            "ans",
            "correct option",
            "right option",
            "best option",
            "correct choice",
            "right choice",
            "best choice",
            "correct letter",
        ),
        says=(
            "is",
            "are",
            "was",
            "equals",
            "would be",
            "should be",
            "will be",
            "must be",
            "has to be",
            "comes to",
            "comes out to be",
            "turns out to be",
            "seems to be",
            "to be",
            "becomes",
            "=",
        ),
        denies=(
            "is not",
            "isn't",
            "are not",
            "aren't",
            "cannot be",
            "can't be",
            "can not be",
            "couldn't be",
            "could not be",
            "won't be",
            "will not be",
            "wouldn't be",
            "would not be",
            "shouldn't be",
            "should not be",
            "must not be",
            "wasn't",
            "was not",
            "may not be",
            "is never",
            "is no longer",
            "is neither",
            "is anything but",
            "is definitely not",
            "is certainly not",
            "is clearly not",
            "is probably not",
            "is obviously not",
            "is therefore not",
            "is surely not",
            "is also not",
        ),
        corrects=(
            "no",
            "wait",
            "sorry",
            "i mean",
            "i meant",
            "or rather",
            "rather",
            "actually",
            "correction",
            "scratch that",
            "oops",
            "on second thought",
            "hold on",
            "hmm",
            "make that",
        ),
        doubts=(
            "don't think",
            "do not think",
            "don't believe",
            "do not believe",
            "doubt",
            "wouldn't say",
            "would not say",
            "never said",
            "not convinced",
        ),
        negates=(
            "not",
            "never",
            "neither",
            "nor",
            "rather than",
            "instead of",
            "as opposed to",
            "unlike",
            "no longer",
            "hardly",
            "no sign of",
            "no trace of",
            "no hint of",
            "no mention of",
            "without",
            "far from",
        ),
        remains=(
            "remains",
            "remain",
            "fits",
            "fits best",
            "fits better",
            "fits the",
            "is left",
            "works",
            "works best",
            "makes sense",
            "applies",
        ),
        chooses=(
            "choose",
            "select",
            "pick",
            "go with",
            "i would say",
            "i'd say",
            "i would answer",
            "my choice is",
            "my pick is",
            "it is",
            "it's",
            "it was",
            "it has to be",
            "it must be",
            "it should be",
            "it can only be",
            "only",
            "rate it",
            "rate this",
            "give it",
            "give this",
        ),
        option=("option", "choice", "letter", "answer", "alternative", "statement"),
        correct=("correct", "right", "better", "the answer", "the best", "best", "the solution", "true", "the one"),
        reasons=(
            "because",
            "since",
            "as",
            "while",
            "whereas",
            "although",
            "though",
            "unlike",
            "rather than",
            "instead of",
            "given that",
            "even though",
            "for",
            "whilst",
            "but not",
            "not",
        ),
        concludes=(
            "so",
            "therefore",
            "thus",
            "hence",
            "consequently",
            "leaving",
            "leaves",
            "making it",
            "which means",
            "then",
            "definitely",
            "absolutely",
            "certainly",
            "clearly",
            "obviously",
            "of course",
        ),
        joins=("or", "and", "and/or"),
        question=(
            "question",
            "q",
            "problem",
            "instruction",
            "instructions",
            "human",
            "user",
            "exercise",
            "next question",
            "new question",
            "passage",
            "text",
            "review",
            "tweet",
            "sentence",
            "premise",
        ),
        yes=("yes", "yeah", "yep"),
        no=("no", "nope"),
        months=(
            "january",
            "february",
            "march",
            "april",
            "may",
            "june",
            "july",
            "august",
            "september",
            "october",
            "november",
            "december",
        ),
        minus=("negative", "minus"),
        belongs=(
            "belongs to",
            "looks like",
            "seems like",
            "sounds like",
            "reads like",
            "call this",
            "call it",
            "consider this",
            "consider it",
            "leans",
            "leans toward",
            "leans towards",
            "about",
            "falls under",
            "falls into",
            "classified as",
            "categorized as",
            "categorised as",
            "labeled as",
            "labelled as",
            "labeled",
            "labelled",
            "shows",
            "expresses",
            "conveys",
            "reflects",
            "describes",
            "has",
            "about",
            "under",
            "as",
            "feels",
            "seems",
            "appears",
            "looks",
            "sounds",
            "feel",
            "experiences",
            "indicates",
            "suggests",
            "deserves",
        ),
        label=(
            "topic",
            "label",
            "category",
            "class",
            "intent",
            "sentiment",
            "emotion",
            "level",
            "rating",
            "verdict",
            "prediction",
        ),
    ),
    "zh": Language(
        answer=("答案", "答"),
        says=("是", "为", "為", "应该是", "應該是", "应为", "就是", "等于", "选", "選"),
        denies=("不是", "并非", "並非", "不可能是", "不应该是", "不會是", "不会是", "绝不是", "不等于"),
        corrects=("不对", "不對", "应该是", "應該是", "更正"),
        doubts=(
            "不认为",
            "不觉得",
        ),
        negates=("不是", "而不是", "而非", "并非", "並非", "不属于", "不在"),
        chooses=("选择", "應選", "選擇", "选", "選", "故选", "应选"),
        remains=("符合", "最合适"),
        option=("选项", "選項"),
        correct=("正确", "正確", "对的", "正确答案"),
        reasons=("因为", "因為", "由于", "而"),
        concludes=("所以", "因此", "故", "于是", "那么"),
        joins=("和", "或", "与", "及", "、"),
        question=("问题", "問題", "题目", "題目", "问", "例题"),
        yes=("是", "是的", "对"),
        no=("不", "不是", "否"),
        minus=("负", "負"),
        belongs=("属于", "屬於", "归为", "关于"),
        label=("分类", "分類", "类别", "類別", "标签", "主题", "情感"),
    ),
    "hi": Language(
        answer=("उत्तर", "जवाब"),
        says=("है", "हैं", "होगा"),
        direct=True,
        ends=("है", "हैं", "होगा"),
        corrects=("बल्कि", "दरअसल"),
        option=("विकल्प",),
        correct=("सही", "सही है"),
        reasons=("क्योंकि", "चूंकि"),
        concludes=("इसलिए", "अतः"),
        joins=("और", "या"),
        question=("प्रश्न", "सवाल"),
        yes=("हाँ", "हां"),
        no=("नहीं",),
        denies_after=("नहीं", "नही"),
        minus=("ऋणात्मक", "माइनस"),
        label=("श्रेणी", "वर्ग", "भावना"),
    ),
    "es": Language(
        answer=("respuesta", "respuestas", "resultado", "solución correcta"),
        says=("es", "son", "sería", "será", "debe ser", "debería ser", "sea"),
        denies=("no es", "no son", "no puede ser", "nunca es", "tampoco es", "no sería"),
        doubts=(
            "no creo que",
            "no pienso que",
            "dudo que",
        ),
        negates=("no", "no es", "y no", "en vez de", "en lugar de"),
        remains=("queda", "encaja"),
        corrects=("más bien", "mejor dicho", "perdón", "en realidad", "quiero decir", "corrección"),
        chooses=("elijo", "elegimos", "escojo"),
        option=("respuesta", "opción", "alternativa", "letra"),
        correct=("correcta", "correcto", "la correcta", "la respuesta"),
        reasons=("porque", "ya que", "pues", "mientras que", "aunque", "puesto que"),
        concludes=("así que", "por lo tanto", "por tanto", "entonces", "luego"),
        joins=("o", "y"),
        question=("pregunta", "problema", "instrucción", "usuario"),
        yes=("sí", "si"),
        no=("no",),
        months=(
            "enero",
            "febrero",
            "marzo",
            "abril",
            "mayo",
            "junio",
            "julio",
            "agosto",
            "septiembre",
            "octubre",
            "noviembre",
            "diciembre",
        ),
        decimal_comma=True,
        minus=("menos",),
        belongs=("pertenece a", "corresponde a", "se clasifica como", "como"),
        label=("categoría", "etiqueta", "clase", "tema", "sentimiento"),
    ),
    "fr": Language(
        answer=("réponse", "réponses", "résultat", "bonne solution"),
        says=("est", "sont", "serait", "sera", "doit être", "c'est", "soit"),
        denies=("n'est pas", "n’est pas", "ne sont pas", "ne peut pas être", "n'est jamais", "ne peut être"),
        doubts=(
            "ne pense pas que",
            "ne crois pas que",
            "doute que",
        ),
        negates=("pas", "et non", "et pas", "plutôt que", "au lieu de"),
        remains=("reste", "convient"),
        corrects=("ou plutôt", "plutôt", "pardon", "en fait", "je veux dire", "correction", "non"),
        chooses=("je choisis", "choisissons"),
        option=("réponse", "option", "lettre", "proposition"),
        correct=("correcte", "correct", "la bonne", "la bonne réponse", "juste", "exacte"),
        reasons=("car", "parce que", "puisque", "tandis que", "alors que", "bien que"),
        concludes=("donc", "ainsi", "par conséquent", "alors"),
        joins=("ou", "et"),
        question=("question", "problème", "exercice", "instruction", "utilisateur"),
        yes=("oui",),
        no=("non",),
        months=(
            "janvier",
            "février",
            "mars",
            "avril",
            "mai",
            "juin",
            "juillet",
            "août",
            "septembre",
            "octobre",
            "novembre",
            "décembre",
        ),
        decimal_comma=True,
        minus=("moins",),
        belongs=("appartient à", "relève de", "comme"),
        label=("catégorie", "étiquette", "classe", "sujet", "sentiment"),
    ),
    "ar": Language(
        answer=("الإجابة", "الاجابة", "الجواب", "إجابة", "جواب", "الحل"),
        says=("هي", "هو", "تكون", "يكون"),
        direct=True,
        denies=("ليست", "ليس", "لا يمكن أن تكون", "لا يمكن أن يكون", "لا تكون"),
        negates=("ليس", "وليس", "ليست", "وليست", "بدلا من"),
        corrects=("بل", "عفوا", "في الواقع"),
        option=("الخيار", "خيار", "الحرف"),
        correct=("صحيح", "صحيحة", "الصحيح", "الصحيحة"),
        reasons=("لأن", "بينما", "حيث"),
        concludes=("لذلك", "إذن", "لذا"),
        joins=("أو", "و"),
        question=("السؤال", "سؤال", "مسألة"),
        yes=("نعم",),
        no=("لا", "كلا"),
        minus=("سالب", "ناقص"),
        label=("الفئة", "التصنيف", "المشاعر"),
    ),
    "bn": Language(
        answer=("উত্তর", "উত্তরটি", "উত্তরটা"),
        says=("হল", "হলো", "হচ্ছে", "হবে"),
        direct=True,
        ends=("হবে", "হয়"),
        option=("বিকল্প", "অপশন"),
        correct=("সঠিক",),
        reasons=("কারণ", "যেহেতু"),
        concludes=("তাই", "সুতরাং", "অতএব"),
        joins=("বা", "এবং", "ও"),
        question=("প্রশ্ন",),
        yes=("হ্যাঁ",),
        no=("না",),
        denies_after=("নয়", "না"),
        minus=("মাইনাস", "ঋণাত্মক"),
        label=("শ্রেণী", "বিভাগ"),
    ),
    "pt": Language(
        answer=("resposta", "respostas", "resultado", "solução correta"),
        says=("é", "são", "seria", "será", "deve ser", "deveria ser", "seja"),
        denies=("não é", "não são", "não pode ser", "nunca é"),
        doubts=(
            "não acho que",
            "não creio que",
            "duvido que",
        ),
        negates=("não", "e não", "em vez de", "ao invés de"),
        remains=("resta", "sobra"),
        corrects=("ou melhor", "aliás", "na verdade", "quero dizer", "desculpe", "correção"),
        chooses=("escolho",),
        option=("resposta", "opção", "alternativa", "letra"),
        correct=("correta", "correto", "certa", "a correta"),
        reasons=("porque", "pois", "já que", "enquanto", "embora"),
        concludes=("portanto", "logo", "então", "assim"),
        joins=("ou", "e"),
        question=("pergunta", "questão", "problema", "instrução", "usuário"),
        yes=("sim",),
        no=("não",),
        months=(
            "janeiro",
            "fevereiro",
            "março",
            "abril",
            "maio",
            "junho",
            "julho",
            "agosto",
            "setembro",
            "outubro",
            "novembro",
            "dezembro",
        ),
        decimal_comma=True,
        minus=("menos",),
        belongs=("pertence a", "classificado como", "como"),
        label=("categoria", "etiqueta", "classe", "tema", "sentimento"),
    ),
    "ru": Language(
        answer=("ответ", "ответом", "ответы", "правильный вариант", "верный вариант", "результат"),
        says=("это", "—", "–", "-", "будет", "равен", "является"),
        direct=True,
        denies=("не", "это не", "не является", "не может быть", "— не"),
        doubts=(
            "не думаю, что",
            "не считаю, что",
            "сомневаюсь, что",
        ),
        negates=("не", "а не", "вместо"),
        remains=("остаётся", "остается", "подходит"),
        corrects=("нет", "точнее", "вернее", "извините", "на самом деле"),
        chooses=("выбираю", "выбираем"),
        option=("вариант", "буква", "пункт"),
        correct=("верно", "верен", "правильный", "правильно", "верный"),
        reasons=("потому что", "так как", "поскольку", "ибо", "а"),
        concludes=("поэтому", "значит", "следовательно", "итак"),
        joins=("или", "и"),
        question=("вопрос", "задача", "задание"),
        yes=("да",),
        no=("нет",),
        months=(
            "января",
            "февраля",
            "марта",
            "апреля",
            "мая",
            "июня",
            "июля",
            "августа",
            "сентября",
            "октября",
            "ноября",
            "декабря",
        ),
        decimal_comma=True,
        minus=("минус",),
        belongs=("относится к", "как"),
        label=("категория", "метка", "класс", "тема", "тональность"),
    ),
    "ur": Language(
        answer=("جواب", "صحیح جواب"),
        says=("ہے", "یہ ہے"),
        direct=True,
        ends=("ہے", "ہیں"),
        option=("آپشن", "انتخاب"),
        correct=("درست", "صحیح"),
        reasons=("کیونکہ",),
        concludes=("لہذا", "اس لیے"),
        joins=("یا", "اور"),
        question=("سوال",),
        yes=("ہاں", "جی ہاں"),
        no=("نہیں",),
        denies_after=("نہیں",),
        minus=("منفی",),
        label=("زمرہ",),
    ),
    "de": Language(
        answer=("antwort", "antworten", "ergebnis", "richtige lösung"),
        says=("ist", "lautet", "sind", "wäre", "beträgt"),
        denies=("ist nicht", "lautet nicht", "sind nicht", "kann nicht", "ist kein", "ist keine", "ist niemals"),
        doubts=(
            "glaube nicht, dass",
            "denke nicht, dass",
            "bezweifle, dass",
        ),
        negates=("nicht", "und nicht", "kein", "keine", "keinen", "keiner", "keinem", "statt", "anstatt"),
        remains=("bleibt", "passt"),
        corrects=("sondern", "nein", "vielmehr", "genauer", "ich meine", "korrektur", "moment", "eigentlich"),
        chooses=("ich wähle", "wir wählen"),
        option=("option", "buchstabe", "antwort", "möglichkeit"),
        correct=("richtig", "korrekt", "die richtige", "die richtige antwort"),
        reasons=("weil", "da", "denn", "während", "obwohl"),
        concludes=("also", "daher", "deshalb", "somit", "folglich"),
        joins=("oder", "und"),
        question=("frage", "aufgabe", "problem", "anweisung", "nutzer"),
        yes=("ja",),
        no=("nein",),
        months=(
            "januar",
            "februar",
            "märz",
            "april",
            "mai",
            "juni",
            "juli",
            "august",
            "september",
            "oktober",
            "november",
            "dezember",
        ),
        decimal_comma=True,
        minus=("minus",),
        belongs=("gehört zu", "gehört zur", "gehört zum", "als"),
        label=("kategorie", "klasse", "thema", "stimmung"),
    ),
    "ja": Language(
        answer=("答え", "正解"),
        says=("は",),
        direct=True,
        ends=("です", "である", "だ", "となります", "になります"),
        option=("選択肢",),
        correct=("正しい", "正解"),
        reasons=("なぜなら", "ので"),
        concludes=("したがって", "よって", "だから", "ゆえに"),
        joins=("と", "または", "、"),
        question=("問題", "質問", "問"),
        yes=("はい",),
        no=("いいえ",),
        denies_after=("ではない", "ではありません", "じゃない", "ではなく"),
        minus=("マイナス",),
        label=("カテゴリ", "カテゴリー", "分類", "ラベル", "感情"),
        remains=(
            "を選びます",
            "を選ぶ",
            "を選択",
            "が正解",
            "が正しい",
            "が当てはまる",
        ),
    ),
    "ko": Language(
        answer=("정답", "답", "답변"),
        says=("은", "는"),
        direct=True,
        ends=("입니다", "이다", "이에요", "예요"),
        denies_after=("이 아닙니다", "가 아닙니다", "이 아니다", "가 아니다", "이 아니라", "가 아니라"),
        chooses=("선택",),
        option=("선택지", "보기"),
        correct=("정답", "맞습니다"),
        reasons=("왜냐하면",),
        concludes=("따라서", "그러므로", "그래서"),
        joins=("와", "과", "또는"),
        question=("질문", "문제"),
        yes=("예", "네"),
        no=("아니요", "아니오"),
        minus=("마이너스", "음수"),
        label=("분류", "범주", "감정"),
        remains=(
            "번이 정답",
            "이 정답",
            "가 정답",
            "번입니다",
            "번이다",
            "번이 맞습니다",
        ),
    ),
    "id": Language(
        answer=("jawaban", "jawabannya", "jawab"),
        says=("adalah", "ialah", "yaitu"),
        denies=("bukan", "bukanlah", "tidak mungkin", "adalah bukan"),
        doubts=(
            "tidak yakin",
            "ragu",
        ),
        negates=("bukan", "dan bukan", "daripada"),
        corrects=("maksud saya", "maaf", "sebenarnya"),
        chooses=("saya memilih",),
        option=("opsi", "pilihan", "huruf"),
        correct=("benar", "yang benar"),
        reasons=("karena", "sebab", "sedangkan"),
        concludes=("jadi", "maka", "oleh karena itu"),
        joins=("atau", "dan"),
        question=("pertanyaan", "soal"),
        yes=("ya",),
        no=("tidak",),
        months=(
            "januari",
            "februari",
            "maret",
            "april",
            "mei",
            "juni",
            "juli",
            "agustus",
            "september",
            "oktober",
            "november",
            "desember",
        ),
        decimal_comma=True,
        minus=("minus", "negatif"),
        belongs=("termasuk", "tergolong", "sebagai"),
        label=("kategori", "kelas", "topik", "sentimen"),
    ),
}

# Letters by which options are marked, in their order; one that a prompt uses from its first letter on is recognised.
ALPHABETS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "abcdefghijklmnopqrstuvwxyz",
    "АБВГДЕЖЗИКЛМН",
    "абвгдежзиклмн",
    "ΑΒΓΔΕΖΗΘ",
    "αβγδεζηθ",
    "أبجدهوزح",
    "ابجدهوزح",
    "אבגדהוזח",
    "कखगघङचछज",
    "কখগঘঙচছজ",
    "กขคงจฉชซ",
    "가나다라마바사아",
    "ㄱㄴㄷㄹㅁㅂㅅㅇ",
    "アイウエオカキク",
    "あいうえおかきく",
    "甲乙丙丁戊己庚辛",
    "①②③④⑤⑥⑦⑧⑨",
)


_versions = count(1)
_version = [0]


def add(name: str, language: Language) -> None:
    """Add a language, or put another in the place of one that is there.

    Args:
        name: its code, such as ``nl``.
        language: its words.

    Example:
        >>> add("nl", Language(answer=("antwoord",), says=("is",), denies=("niet",)))
        >>> "nl" in known()
        True
    """
    _TABLE[name] = language
    _version[0] = next(_versions)


def remove(name: str) -> None:
    """Take a language out of the table; nothing happens where it is not there."""
    _TABLE.pop(name, None)
    _version[0] = next(_versions)


def version() -> int:
    """Return a number that changes with the table, for what is made of it and kept."""
    return _version[0]


def known() -> Mapping[str, Language]:
    """Return every language by its code, those of installed packages included."""
    return {**_TABLE, **_installed()}


@lru_cache(maxsize=1)
def _installed() -> dict[str, Language]:
    return {point.name: point.load()() for point in entry_points(group=_GROUP)}


def months() -> Mapping[str, int]:
    """Return the names of months, casefolded, with their numbers; in English their first three letters too."""
    found = {name.casefold(): at for language in known().values() for at, name in enumerate(language.months, 1)}
    return found | {name[:3]: at for at, name in enumerate(_TABLE["en"].months, 1)} | {"sept": 9}
