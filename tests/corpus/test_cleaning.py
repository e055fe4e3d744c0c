import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.corpus.cleaning import CLEANING_RULES, clean_text, find_language


@pytest.mark.parametrize(
    ("text", "expected", "rule"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd", "line ends"),
        ("a\x00b\x1fc\td", "abc\td", "control characters"),
        ("co\u00adração\ufeff azul\u200b", "coração azul", "control characters"),
        ("corac\u0327a\u0303o", "coração", "NFC"),
        ("um  \ndois\t \ntrês", "um\ndois\ntrês", "trailing spaces"),
        ("um\n\n\n\n\n\ndois", "um\n\n\ndois", "blank lines"),
        ("\n \n  um\n\n", "  um", "outer space"),
        ("O coraÃ§Ã£o nÃ£o estÃ¡ aqui", "O coração não está aqui", "mojibake"),
        ("He said â€œnoâ€\x9d, didnâ€™t he?", "He said “no”, didn’t he?", "mojibake"),
    ],
)
def test_each_rule(text: str, expected: str, rule: str) -> None:
    cleaned, touched = clean_text(text, is_code=False)
    assert cleaned == expected
    assert rule in touched and set(touched) <= set(CLEANING_RULES)


@pytest.mark.parametrize(
    "text",
    [
        "Olá, açaí! “Sim” — disse ele…\n\nFim.",
        "A NAÇÃO É GRANDE; IRMÃ, AVÓ, VOVÔ.",
        "Привет, мир",
        "日本語のテキスト",
        "👩‍👩‍👧 ok",
    ],
)
def test_good_text_is_not_touched(text: str) -> None:
    assert clean_text(text, is_code=False) == (text, [])


def test_code_keeps_its_spaces_and_characters() -> None:
    code = 'x = "coraÃ§Ã£o"  \n\n\n\n\n\ny = "c\u0327"\n'
    assert clean_text(code.replace("\n", "\r\n"), is_code=True) == (code, ["line ends"])


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(st.sampled_from("ab \t\n\r\x00\x85\u00ad\u0301é\u2028\ufeff"), max_size=30))
def test_cleaning_twice_changes_nothing_more_and_the_result_is_clean(text: str) -> None:
    once, touched = clean_text(text, is_code=False)
    assert clean_text(once, is_code=False)[0] == once
    assert bool(touched) == (once != text)
    assert unicodedata.is_normalized("NFC", once)
    assert not set(once) & set("\r\x00\x85\u00ad\u2028\ufeff")
    assert "\n\n\n\n" not in once and " \n" not in once and once == once.rstrip()


@pytest.mark.parametrize("unit", [" ", "\n", "\t \n", "a \n", "Ã", "\u0301"])
def test_time_grows_with_the_length_not_its_square(unit: str) -> None:
    def seconds(n_chars: int) -> float:
        text = "x" + unit * (n_chars // len(unit)) + "x"
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            clean_text(text, is_code=False)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(320_000) < 16 * seconds(20_000) * 3 + 0.02


def test_languages() -> None:
    portuguese = "Era uma vez uma menina que morava perto do mar e gostava de conversar com os pescadores."
    english = "Once upon a time there was a girl who lived by the sea and liked to talk to the fishermen."
    assert find_language(portuguese, ()) == find_language(portuguese, ("pt", "en")) == "pt"
    assert find_language(english, ()) == find_language(english, ("en", "pt")) == "en"
    assert find_language("1234 --- 5678", ("pt", "en")) == ""
