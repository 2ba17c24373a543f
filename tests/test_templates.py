"""Templates of users come to an end, within bounds that their errors name, and do what Jinja2's do below them."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import templates
from curate.templates import MOST_STEPS, bounded, make_environment

STEPS = "it takes more than 1,000 steps: loop over less"
ENDLESS = {
    "nested loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "a loop that calls itself": "{% for x in xs recursive %}{% if loop.depth < 30 %}{{ loop(xs) }}{% endif %}{% endfor %}",
    "macros that call themselves twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "a call block": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    "{% macro g(n) %}{% if n %}{% call m() %}{{ g(n - 1) }}{% endcall %}{% endif %}{% endmacro %}{{ g(40) }}",
    "filters in loops": "{% for a in range(9999) %}{% set _ = range(9999)|sum %}{% endfor %}",
    "a filter over a map": "{{ range(9999)|map('string')|map('upper')|list|length }}",
}
HUGE = {
    "{{ 'x' * 10 ** 9 }}": "repeats a text",
    "{{ [1] * 10 ** 9 }}": "repeats a text",
    "{% set n = namespace(x='xxxx') %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}": "text of more than",
    "{% set n = namespace(x='xxxx') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}": "text of more than",
    "{% set n = namespace(x=3) %}{% for i in range(40) %}{% set n.x = n.x * n.x %}{% endfor %}": "bits",
    "{{ 3 ** 99999 }}": "exponent",
    "{{ 'x'.ljust(10 ** 10) }}": "ljust is given a number",
    "{{ 'x'|center(10 ** 10) }}": "center is given a number",
    "{{ ['x']|batch(10 ** 9, 'y')|list|length }}": "batch is given a number",
    "{{ ['x']|slice(10 ** 9)|list|length }}": "slice is given a number",
    "{{ '%9999999999d' % 1 }}": "a width",
    "{{ '{:>9999999999}'.format(1) }}": "a width",
    "{{ '%9999999999d'|format(1) }}": "a width",
    "{{ ('x' * 9000)|replace('x', 'y' * 9000) }}": "text of more than",
    "{{ ('x' * 9000).replace('x', 'y' * 9000) }}": "text of more than",
    "{{ ('y' * 9000).join(['x'] * 9000) }}": "text of more than",
    "{{ (['x'] * 9000)|join('y' * 9000) }}": "text of more than",
    "{{ (['x' * 9000] * 9000)|map('upper')|join }}": "text of more than",
    "{% set a = ['x' * 900] * 900 %}{% set b = [a] * 900 %}{{ b }}": "text of more than",
    "{% set a = ['x' * 900] * 900 %}{% set b = [a] * 900 %}{{ b|string|length }}": "text of more than",
    "{% set a = ['x' * 900] * 900 %}{% set b = [a] * 900 %}{{ b ~ '' }}": "text of more than",
}


def filled(text: str, *, most: int = 1_000_000, **fields: Any) -> str:
    """Fill a template within bounds."""
    with bounded():
        return make_environment(most=most).from_string(text).render(**fields)


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_what_would_not_end_ends_after_so_many_steps(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MOST_STEPS", 1_000)
    with pytest.raises(OverflowError, match=STEPS):
        filled(text, xs=[1, 2])


@pytest.mark.parametrize(("text", "told"), HUGE.items(), ids=range(len(HUGE)))
def test_no_expression_makes_more_than_fits(text: str, told: str) -> None:
    with pytest.raises(OverflowError, match=told):
        filled(text)


def test_each_filling_has_its_own_steps() -> None:
    text = f"{{% for x in range({MOST_STEPS // 20}) %}}{{% endfor %}}done"
    template = make_environment(most=10).from_string(text)
    for _ in range(25):
        with bounded():
            assert template.render() == "done"


@given(
    st.lists(st.text(max_size=5), max_size=6),
    st.sampled_from(
        [
            "{% for x in xs %}{{ loop.index }}/{{ loop.length }}{{ x }}{% if not loop.last %},{% endif %}{% else %}0{% endfor %}",
            "{% for x in xs recursive %}{{ x }}{% if x is not string %}({{ loop(x) }}){% endif %}{% endfor %}",
            "{% macro f(x, y='z') %}<{{ x ~ y ~ 3 }}>{% endmacro %}{{ f(xs|join('-')) }}{{ f(xs|length, y=1) }}",
            "{{ xs }}{{ xs|first }}{{ xs|map('upper')|join(',') }}{{ 'a%sb' % (xs|length,) }}{{ '%s'|format(xs) }}{{ xs|e }}",
            "{% filter upper %}{{ xs|sort|join }}{% endfilter %}{{ [1, 2] + xs }}{{ 2 * 'ab' }}{{ 2 ** 5 % 7 }}{{ none }}",
            "{% call(n) f(xs) %}{{ n }}{% endcall %}{% macro f(xs) %}{{ caller(xs|length) }}{% endmacro %}",
        ]
    ),
)
def test_below_the_bounds_a_template_is_what_it_is_in_jinja2(xs: list[str], text: str) -> None:
    def outcome(environment: jinja2.Environment) -> str:
        try:
            with bounded():
                return environment.from_string(text).render(xs=xs)
        except jinja2.TemplateError as e:
            return f"{type(e).__name__}: {e}"

    assert outcome(make_environment(most=1_000)) == outcome(jinja2.Environment())
