from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import InputError
from curate.teachers import prices
from curate.teachers.prices import FREE, Price, format_usd


def test_a_model_is_priced_at_its_own_provider_only(tmp_path: Path) -> None:
    assert prices.find("gpt-4o-mini", "https://api.openai.com/v1", root=tmp_path) == Price(0.15, 0.60, 0.075)
    assert prices.find("gpt-4o-mini-2024-07-18", "https://api.openai.com/v1", root=tmp_path) == Price(0.15, 0.60, 0.075)
    assert prices.find("gpt-4o-mini", root=tmp_path) == Price(0.15, 0.60, 0.075)
    assert prices.find("gpt-4o-mini", "https://gateway.example/v1", root=tmp_path) is None
    assert prices.find("gpt-4o-mini", "local", root=tmp_path) is None
    assert prices.find("no-such-model", "https://api.openai.com/v1", root=tmp_path) is None


def test_a_snapshot_has_its_own_price_or_none_unless_it_is_known_to_cost_the_same(tmp_path: Path) -> None:
    at = "https://api.openai.com/v1"
    (tmp_path / "prices.toml").write_text('["mine"]\ninput = 1\noutput = 2\n["mine-2025-01-01"]\ninput = 3\noutput = 4\n')
    assert prices.find("gpt-4o-2024-05-13", at, root=tmp_path) == Price(5.0, 15.0)
    assert prices.find("gpt-4o-2024-08-06", at, root=tmp_path) == prices.find("gpt-4o", at, root=tmp_path)
    assert prices.find("gpt-4o-0513", at, root=tmp_path) is None
    assert prices.nearest("gpt-4o-0513", at) == "gpt-4o"
    assert prices.find("mine-2025-01-01", at, root=tmp_path) == Price(3, 4)
    assert prices.find("mine-2026-01-01", at, root=tmp_path) is None


def test_the_users_file_comes_first_and_can_name_a_host(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(
        '["gpt-4o-mini"]\ninput = 9\noutput = 10\n["local/gpt-4o-mini"]\ninput = 0\noutput = 0\ncached = 0.0\n'
    )
    assert prices.find("gpt-4o-mini", "https://api.openai.com/v1", root=tmp_path) == Price(9, 10)
    assert prices.find("gpt-4o-mini", "local", root=tmp_path) == Price(0, 0, 0.0)


@pytest.mark.parametrize(
    "entry", ["input = 1", "input = 1\noutput = -1", 'input = 1\noutput = "2"', "input = 1\noutput = 2\nin = 3"]
)
def test_a_bad_price_is_an_error_that_names_the_model(tmp_path: Path, entry: str) -> None:
    (tmp_path / "prices.toml").write_text(f'["m"]\n{entry}\n')
    with pytest.raises(InputError, match=r"'prices.toml', \['m'\]"):
        prices.find("m", "local", root=tmp_path)


def test_a_file_that_is_not_toml_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text("input: 1")
    with pytest.raises(InputError, match="cannot be read as TOML"):
        prices.find("m", "local", root=tmp_path)


def test_cached_tokens_cost_what_they_cost() -> None:
    price = Price(1.0, 2.0, 0.5)
    assert price.nano_usd(1_000_000, 0) == 1_000_000_000
    assert price.nano_usd(1_000_000, 0, cached=1_000_000) == 500_000_000
    assert price.usd(100, 50, cached=40) == pytest.approx((60 * 1 + 40 * 0.5 + 50 * 2) / 1e6)
    assert Price(1.0, 2.0).nano_usd(10, 0, cached=10) == Price(1.0, 2.0).nano_usd(10, 0)
    assert FREE.nano_usd(10**9, 10**9) == 0


@given(st.floats(0, 100), st.floats(0, 100), st.integers(0, 10**7), st.integers(0, 10**7))
def test_money_is_never_rounded_down(input_usd: float, output_usd: float, prompt: int, completion: int) -> None:
    exact = prompt * input_usd * 1000 + completion * output_usd * 1000
    found = Price(input_usd, output_usd).nano_usd(prompt, completion)
    assert exact - 1e-3 <= found <= exact + 1 + 1e-3


def test_the_table_has_a_date() -> None:
    assert date.fromisoformat(prices.AS_OF) > date(2025, 1, 1)


def test_a_batch_costs_half_or_what_the_user_says(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text('["m"]\ninput = 4\noutput = 8\nbatch = 0.75\n')
    assert Price(4.0, 8.0, 1.0).batched() == Price(2.0, 4.0, 0.5, batch=1.0)
    own = prices.find("m", "local", root=tmp_path)
    assert own is not None
    assert own.batched().usd(1_000_000, 1_000_000) == pytest.approx(9.0)


def test_a_misspelt_model_has_a_neighbour_at_its_own_provider_alone() -> None:
    assert prices.nearest("gpt-4o-minni", "https://api.openai.com/v1") == "gpt-4o-mini"
    assert prices.nearest("qwen", "https://api.openai.com/v1") is None
    assert prices.nearest("gpt-4o-minni", "local") is None


@pytest.mark.parametrize(
    ("usd", "words"),
    [
        (None, "no price known"),
        (0, "$0.00"),
        (1234.5, "$1,234.50"),
        (0.049, "$0.049"),
        (0.00031, "$0.00031"),
        (0.0000021, "$0.0000021"),  # less than a digit of the usual ones, and not nothing
    ],
)
def test_money_has_more_digits_the_less_it_is(usd: float | None, words: str) -> None:
    assert format_usd(usd) == words


def test_the_ends_of_a_range_have_as_many_digits_as_its_middle() -> None:
    assert format_usd(1.2, 0.9, 1.6) == "$1.20 ($0.90–$1.60)"
    assert format_usd(0.049, 0.0441, 1.5) == "$0.049 ($0.044–$1.500)"


@given(st.floats(1e-9, 1e9))
def test_money_that_is_not_nothing_never_looks_like_nothing(usd: float) -> None:
    assert set(format_usd(usd)) & set("123456789")
