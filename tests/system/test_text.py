"""Texts of users in one line."""

import pytest
from helpers import HOSTILE

from vqjax.system.text import printable, shorten


@pytest.mark.parametrize(
    "text, shown",
    [
        ("cat", "cat"),
        ("Temple – 寺", "Temple – 寺"),
        ("a\nb\tc\rd\0", r"a\nb\tc\rd\x00"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\udc80", r"\x80"),
        ("\u202egnp", r"\u202egnp"),  # turns the direction of what follows
        ("می\u200cخواهم", "می\u200cخواهم"),  # a joiner inside a word
        ("a\u00a0b\u3000c\u2028d", r"a b c\u2028d"),
    ],
)
def test_what_would_break_a_line_is_escaped(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_can_be_written(text):
    assert len(f"{printable(text)}.".encode().splitlines()) == 1


def test_a_long_text_is_cut():
    assert shorten("abcdef", 5) == "abcd…" and shorten("abcde", 5) == "abcde" and shorten("abc", 0) == "abc"
