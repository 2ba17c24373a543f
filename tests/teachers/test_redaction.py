import logging
from urllib.parse import urlsplit

import pytest

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
