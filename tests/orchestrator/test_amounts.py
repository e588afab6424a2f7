"""Numbers as people read them, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import amounts


def plain(text: str) -> str:
    return text.replace(amounts.SPACE, " ")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (9.4e-4, 2, "9.4e-4"),
        (1e-3, 2, "1e-3"),
        (9.96e-4, 2, "1e-3"),
        (0.012, 2, "1.2e-2"),
        (0.12, 2, "0.12"),
        (1.5, 2, "1.5"),
        (1.0636e-2, 4, "1.064e-2"),
        (None, 2, "–"),
        (float("nan"), 2, "–"),
    ],
)
def test_a_rate_is_short_and_without_padding(value, digits, text):
    assert amounts.rate(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1_073_741_824, "1.07 B"),
        (2e10, "20 B"),
        (134_217_728, "134 M"),
        (524_288, "524 k"),
        (999_999, "1 M"),
        (999.6, "1 k"),
        (512, "512"),
        (3e12, "3 T"),
        (1.5, "1.5"),
        (0, "0"),
    ],
)
def test_a_count_has_three_digits_and_a_suffix(value, text):
    assert plain(amounts.count(value)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(6.4e15, "6.4e15 FLOPs"), (0.0, "0 FLOPs"), (None, "–"), (1e21, "1.0e21 FLOPs")]
)
def test_flops(value, text):
    assert plain(amounts.flops(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.64, "64 %"),
        (0.985, "98 %"),
        (0.995, "99.5 %"),
        (0.99976, "99.98 %"),
        (1 - 1e-9, "over 99.999 %"),
        (1.0, "100 %"),
        (1.004, "100 %"),
        (1e-9, "0.0000001 %"),
        (0.0412, "4.1 %"),
        (0.0003, "0.03 %"),
        (0, "0 %"),
        (None, "–"),
    ],
)
def test_percent(value, text):
    assert plain(amounts.percent(value)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (1.24, "1.2 s"),
        (45.2, "45 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (3 * 86_400 + 4 * 3600, "3 d 4 h"),
        (None, "–"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert plain(amounts.duration(seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "just now"), (40, "40 s ago"), (320, "5 min ago"), (90_000, "1 d ago")]
)
def test_an_age_has_one_unit(seconds, text):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert plain(amounts.age(now - timedelta(seconds=seconds), now)) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e9", 1e9),
        ("1.07 B", 1.07e9),
        ("20b", 2e10),
        ("524_288", 524_288),
        ("400 k", 4e5),
        (".5M", 5e5),
        ("1,000", 1000),
        (" 7 T ", 7e12),
        ("262k", 262_000),
        ("1.5T", 1.5e12),
        ("20G", 2e10),
        ("1_000_000", 1e6),
        ("1 234,567.5 k", 1_234_567_500),
    ],
)
def test_amounts_are_read_as_people_write_them(text, value):
    assert amounts.parse_amount(text) == pytest.approx(value)


@given(st.integers(1, 99_999), st.sampled_from("kMBT"))
def test_an_amount_with_decimals_is_the_whole_number_that_it_says(hundredths, suffix):
    power = {"k": 3, "M": 6, "B": 9, "T": 12}[suffix]
    assert amounts.parse_amount(f"{hundredths / 100:.2f}{suffix}") == hundredths * 10**power // 100
    assert amounts.as_amount(f"{hundredths / 100:.2f}e{power}") == hundredths * 10**power // 100


@pytest.mark.parametrize("value", ["many", "-1", "", 7, None, ["1B"]])
def test_what_is_no_amount_stays_as_it_is(value):
    assert amounts.as_amount(value) == value


@pytest.mark.parametrize(
    "text", ["", "foo", "-1", "0", "1e999", "nan", "1 x", "2 B B", "1,5", "1.234,567", "k", "1_", "1e"]
)
def test_what_is_no_positive_number_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"write it like 1e9"):
        amounts.parse_amount(text)


@given(st.floats(min_value=1, max_value=1e17).map(round))
def test_an_exact_number_reads_back_as_itself(value):
    assert amounts.parse_amount(amounts.exact(float(value))) == value


@pytest.mark.parametrize(
    ("value", "text"), [(0.95, "0.95"), (40.72, "40.7"), (999.4, "999"), (40_700, "4.07e4"), (1e-5, "1e-5")]
)
def test_a_number_without_a_unit_has_a_short_exponent(value: float, text: str):
    assert amounts.number(value) == text
