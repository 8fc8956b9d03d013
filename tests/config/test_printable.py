from __future__ import annotations

import pytest

from ast_ray.config.printable import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("over\rwritten\b", "over\\rwritten\\x08"),
        ("user\u202egnp.exe", "user\\u202egnp.exe"),
        ("\u2066\ufeff\u2028", "\\u2066\\ufeff\\u2028"),
        ("not \udcff text", "not \\udcff text"),
        ("nul\0", "nul\\x00"),
    ],
)
def test_what_acts_on_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode()


@pytest.mark.parametrize(
    "text", ["plain", "übergröße 90.7 ± 1.6", "می\u200cخواهم", "👩\u200d🚀", "a\u00a0b", "日本", "[red]:x:"]
)
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text
    assert one_line(text) == text


def test_lines_and_tabs_stay_in_a_text_and_not_in_a_name() -> None:
    assert printable("a\n\tb") == "a\n\tb"
    assert one_line("a\n\tb") == "a\\n\\tb"
