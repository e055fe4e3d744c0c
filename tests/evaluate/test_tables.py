"""Tables say everything in both languages, with numbers as each writes them, from results and from their JSON."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from prosa.corpus import KINDS
from prosa.corpus.world import RELATIONS
from prosa.evaluate import comparison_table, evaluation_table, tables

INTERVAL = {"low": 1.25, "high": 1.5}
BITS = {
    "bits_per_byte": 1.375, "interval": INTERVAL, "nats_per_token": 2.5, "nats_per_byte": 0.953, "n_documents": 1234,
    "n_tokens": 10, "n_bytes": 1234567, "resampled": "documents",
}  # fmt: skip
ACCURACY = {"accuracy": 0.855, "interval": {"low": 0.8, "high": 0.9}, "n_right": 171, "n": 200, "chance": 0.05}
EVALUATION = {
    "bits_per_byte": {
        "total": BITS,
        "by_kind": dict.fromkeys(KINDS, BITS),
        "by_language": {"pt": BITS, "en": BITS, "": BITS},
        "by_source": {"machado": BITS},
        "is_whole": True,
    },
    "xz": {"total": 2.5, "by_source": {"machado": 2.5}},
    "cloze": {
        "total": ACCURACY,
        "by_language": {"pt": ACCURACY, "en": ACCURACY},
        "by_relation": dict.fromkeys(RELATIONS, ACCURACY),
        "by_phrasing": {"seen": ACCURACY, "held_out": ACCURACY},
        "n_skipped": 3,
    },
    "memorisation": {
        "generated": {"n_hits": 20, "n": 2000, "share": 0.01, "interval": {"low": 0.0, "high": 0.02}},
        "validation": {"n_hits": 0, "n": 0, "share": 0.0, "interval": {"low": 0.0, "high": 1.0}},
        "window_tokens": 50,
        "copies": [{"text": 0, "start": 3, "source": "machado", "document": 4, "origin": "dom.txt:1"}] * 5,
    },
}
DIFFERENCE = {
    "a": 1.5, "b": 1.25, "difference": -0.25, "interval": {"low": -0.3, "high": -0.2}, "p_value": 1e-9, "n": 1200,
    "n_better_a": 100, "n_better_b": 1100, "pairs": "documents",
}  # fmt: skip
COMPARISON = {
    "bits": DIFFERENCE,
    "bits_by_language": {"pt": DIFFERENCE, "en": DIFFERENCE},
    "cloze": {**DIFFERENCE, "a": 0.5, "b": 0.75, "difference": 0.25, "pairs": "items"},
}


def render(table: object) -> str:
    console = Console(width=200, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_english() -> None:
    text = render(evaluation_table(EVALUATION))
    for words in ("1.375", "1,234", "85.5%", "80.0%–90.0%", "Portuguese", "conversation", "phrased anew"):
        assert words in text
    assert "for example from dom.txt:1" in text
    assert "machado" not in text.replace("dom.txt", "")  # the only source is the total


def test_portuguese() -> None:
    text = render(evaluation_table(json.loads(json.dumps(EVALUATION)), language="pt"))
    for words in (
        "1,375",
        "1.234",
        "85,5%",
        "português",
        "conversa",
        "frase inédita",
        "por exemplo, de dom.txt:1",
    ):
        assert words in text
    assert "3 itens deixados de fora" in text
    assert not re.search(r"\b(chance|share|windows|unknown|neighbour|right)\b", text)


def test_comparison() -> None:
    english = render(comparison_table(COMPARISON, "old", "new"))
    assert "-0.2500" in english
    assert "< 0.0001" in english
    assert "+25.0%" in english
    assert "1,200" in english and "documents" in english
    portuguese = render(comparison_table(COMPARISON, "old", "new", language="pt"))
    assert "-0,2500" in portuguese
    assert all(word in portuguese for word in ("1.200", "documentos", "itens", "melhor em"))


def test_every_label_has_a_translation() -> None:
    source = Path(tables.__file__).read_text(encoding="utf-8")
    said = set(re.findall(r'say\("([^"]+)"\)', source)) | set(tables._LABELS.values()) | {*KINDS, *RELATIONS}
    assert said <= set(tables._PORTUGUESE)


def test_source_code_is_one_row() -> None:
    bits = EVALUATION["bits_per_byte"] | {"by_language": {"code": BITS, "en": BITS, "pt": BITS}}
    text = render(evaluation_table({**EVALUATION, "bits_per_byte": bits}))
    assert [line.split()[0] for line in text.splitlines() if "1.375" in line] == [
        "all", "book", "article", "code", "conversation", "English", "Portuguese",
    ]  # fmt: skip


@pytest.mark.parametrize("part", ["xz", "cloze", "memorisation"])
def test_parts_left_out(part) -> None:
    assert render(evaluation_table({**EVALUATION, part: None}))


def test_estimate_is_called_one() -> None:
    bits = {**EVALUATION["bits_per_byte"], "is_whole": False}
    assert "estimate on a sample" in render(evaluation_table({**EVALUATION, "bits_per_byte": bits}))


def test_names_are_data() -> None:
    copies = [{"text": 0, "start": 3, "source": "x", "document": 4, "origin": "[red]a\x1b[31mb.txt:1"}]
    values = {**EVALUATION, "memorisation": {**EVALUATION["memorisation"], "copies": copies}}
    assert "for example from [red]a\ufffd[31mb.txt:1" in render(evaluation_table(values))
    assert "runs/[bold]x" in render(comparison_table(COMPARISON, "runs/[bold]x", "new"))
