import base64
import html
import html.entities
import json
import logging
import string
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curate.teachers.redaction import Redaction

URL = urlsplit("https://some-long-user:p%40ss-word-long@example.com/v1?token=query-secret-1&api-version=2024-06-01&n=1")
KEY = "sk-0123456789abcdef"
SECRETS = (
    KEY,
    "p@ss-word-long",
    "p%40ss-word-long",
    "query-secret-1",
    "some-long-user",
    "c29tZS1sb25nLXVzZXI6cEBzcy13b3JkLWxvbmc=",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_blacked_out_wherever_it_stands(secret: str) -> None:
    redaction = Redaction(URL, KEY)
    assert redaction.redact_line(f"401 no\n such key: {secret}!") == "401 no such key: ***!"
    assert redaction.redact_reply(f'{{"echo": "{secret}"}}') == '{"echo": "***"}'


def test_a_reply_keeps_what_may_be_a_word_or_a_date() -> None:
    redaction = Redaction(urlsplit("http://jo:dog@example.com/v1?api-version=2024-06-01"), "ollama")
    told = "The dog of jo met ollama on 2024-06-01."
    assert redaction.redact_reply(told) == told
    assert redaction.redact_line(told) == "The dog of jo met *** on ***."


def test_who_has_no_secrets_says_everything() -> None:
    assert Redaction(urlsplit("http://127.0.0.1:8000/v1")).redact_line("500  oops") == "500 oops"


def test_an_error_is_short() -> None:
    assert len(Redaction(URL, KEY).redact_line("x" * 1000)) == 300


def test_libraries_log_no_secrets_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    redaction = Redaction(URL, KEY)
    with caplog.at_level(logging.INFO):
        redaction.install()
        logging.getLogger("httpx2").info("POST %s %d", URL.geturl(), 200)
        redaction.uninstall()
        logging.getLogger("httpx2").info("POST %s", "elsewhere")
    assert caplog.messages == ["POST https://***:***@example.com/v1?token=***&api-version=***&n=1 200", "POST elsewhere"]


# How programs write a character, derived from what reads it: whatever the reader turns back into the secret is a spelling of it.


def _json_unicode(character: str) -> str:
    halves = character.encode("utf-16-be")
    return "".join(f"\\u{halves[i]:02x}{halves[i + 1]:02x}" for i in range(0, len(halves), 2))


@cache
def json_spellings(character: str) -> list[str]:
    """Return every way to write a character in a JSON string: as it is, behind a backslash, by number."""
    candidates = [
        character,
        *(f"\\{letter}" for letter in string.printable),
        _json_unicode(character),
        _json_unicode(character).upper(),
    ]
    return [
        spelt.replace("\\U", "\\u") for spelt in candidates if read(json.loads, f'"{spelt}"'.replace("\\U", "\\u")) == character
    ]


@cache
def url_spellings(character: str) -> list[str]:
    hexadecimal = "".join(f"%{byte:02x}" for byte in character.encode())
    return [spelt for spelt in (character, hexadecimal, hexadecimal.upper()) if unquote(spelt) == character]


@cache
def html_spellings(character: str) -> list[str]:
    named = [f"&{name}" for name, meaning in html.entities.html5.items() if meaning == character and name.endswith(";")]
    numbers = [f"&#{ord(character)};", f"&#0{ord(character)};", f"&#x{ord(character):x};", f"&#X{ord(character):X};"]
    return [spelt for spelt in (character, *numbers, *named) if html.unescape(spelt) == character]


def read(reader: Callable[[str], Any], text: str) -> Any:
    try:
        return reader(text)
    except ValueError:
        return None


SPELLINGS: dict[str, tuple[Callable[[str], list[str]], Callable[[str], Any]]] = {
    "json": (json_spellings, lambda text: json.loads(f'"{text}"')),
    "url": (url_spellings, unquote),
    "html": (html_spellings, html.unescape),
}
HARD = "k/&<>'\"\\=+%@ü😀sure-0123"


@st.composite
def spelt(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Draw a spelling of `HARD`: up to two kinds of escapes, one inside another, for some or all of its characters."""
    kinds = draw(st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, max_size=2))
    text = HARD
    for kind in kinds:
        ways = SPELLINGS[kind][0]
        text = "".join(draw(st.sampled_from(ways(character))) for character in text)
    return text, kinds


@settings(max_examples=150, deadline=None)
@given(spelt(), st.text(max_size=8), st.text(max_size=8))
def test_a_secret_is_blacked_out_however_it_is_spelt(spelling: tuple[str, list[str]], before: str, after: str) -> None:
    text, kinds = spelling
    reading = text
    for kind in reversed(kinds):
        reading = SPELLINGS[kind][1](reading)
    assume(reading == HARD)
    redaction = Redaction(urlsplit("http://127.0.0.1/v1"), HARD)
    assert redaction.redact_reply(f"{before}|{text}|{after}") == f"{before}|***|{after}"


@given(st.text(alphabet=st.characters(exclude_characters="*"), max_size=60))
def test_a_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert Redaction(urlsplit("http://127.0.0.1/v1"), HARD).redact_reply(text) == text


@pytest.mark.parametrize("before", ["", "a", "ab", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, bytes.hex])
def test_base64_and_hexadecimal_are_secrets_too(before: str, encode: Callable[[bytes], bytes | str]) -> None:
    code = encode(f"{before}{KEY}>>".encode())
    code = code if isinstance(code, str) else code.decode()
    told = Redaction(URL, KEY).redact_reply(f"auth {code} end")
    assert "***" in told
    assert code[8:-8] not in told


def test_case_and_wrapped_lines_hide_nothing() -> None:
    redaction = Redaction(URL, KEY)
    assert redaction.redact_reply(f"no {KEY.upper()}!") == "no ***!"
    assert redaction.redact_reply(f"no {KEY[:9]}\n  {KEY[9:]}!") == "no ***!"
    assert redaction.redact_reply(json.dumps(f"no {KEY[:9]}\r\n{KEY[9:]}!")) == '"no ***!"'


def test_a_reply_is_still_json_and_says_the_rest() -> None:
    body = json.dumps({"a": f"x/{HARD}\\{HARD}", "b": [HARD, 1.5, "\\u0041"]}).replace("/", "\\/")
    told = json.loads(Redaction(urlsplit("http://127.0.0.1/v1"), HARD).redact_reply(body))
    assert told == {"a": "x/***\\***", "b": ["***", 1.5, "\\u0041"]}
