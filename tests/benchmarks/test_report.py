"""The page is rendered from results alone, says where each number is from, and says misses plainly."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.curves import draw_curve
from benchmarks.measure import BenchmarkFailed, make_parser, read_words, run_process, spread, write_result
from benchmarks.report import write_report
from benchmarks.run_facts import make_curve
from benchmarks.tables import show_interval, show_spread

_SPREAD = {"median": 12.0, "low": 11.0, "high": 14.0, "values": [11.0, 12.0, 14.0]}
_SCORE = {"bits_per_byte": 1.5, "interval": {"low": 1.4, "high": 1.6}, "n_bytes": 2048}
_ACCURACY = {"accuracy": 0.9, "interval": {"low": 0.8, "high": 0.95}, "n_right": 9, "n": 10, "chance": 0.1}
_RUN = {
    "wall_seconds": 300.0,
    "corpus": {"documents": {"train": 9, "validation": 1}, "bytes": {"train": 4_000_000, "validation": 200_000}},
    "sources": [{"name": "notes", "rejected": {"binary": 2}, "skipped": {}, "repaired": {"read as Windows-1252": 1}}],
    "model": {"parameters": 3_100_000, "shape": "4 x 256", "context_length": 256, "vocab_size": 2048},
    "training": {
        "steps": 100,
        "tokens": 2_000_000,
        "tokens_per_second": 9000.0,
        "matmul_share": 0.31,
        "dtype": "bfloat16",
        "is_compiled": True,
    },
    "evaluation": {
        "bits_per_byte": {
            "total": _SCORE,
            "by_source": {"notes": _SCORE, "books": _SCORE},
            "by_language": {"pt": _SCORE, "en": _SCORE},
        },
        "xz": {"total": 2.5, "by_source": {"notes": 2.4, "books": 2.6}},
    },
    "curve": {"train": [[1000, 3.0], [2000, 2.0]], "validation": [[2000, 2.1]]},
    "samples": [{"prompt": "Era uma vez", "text": " um gato."}],
}
_RESULTS: dict[str, dict[str, Any]] = {
    "shakespeare": {
        "runs": {
            name: {"seconds": _SPREAD, "nats": {**_SPREAD, "median": 1.8765}}
            for name in ("prosa, cold", "prosa, warm", "recipe", "fused AdamW")
        },
        "ratio_cold": 0.41,
        "ratio_warm": 0.09,
        "fastest_peer": "fused AdamW",
        "ratio_cold_to_fastest": 0.47,
        "is_loss_reached": True,
    },
    "shakespeare_best_8": {
        "minutes": 8.0,
        "wanted": 1.4697,
        "runs": {
            "seconds": {**_SPREAD, "high": 470.0},
            "nats": {**_SPREAD, "high": 1.4555},
            "nats_overlapping": _SPREAD,
            "parameters": {**_SPREAD, "median": 4_800_000},
            "tokens": {**_SPREAD, "median": 7_000_000},
        },
    },
    "real_input_livros": _RUN,
    "quickstart": {
        "wall_seconds": _SPREAD,
        "bits_per_byte": _SPREAD,
        "xz_bits_per_byte": 2.5,
        "tokens_per_second": _SPREAD,
        "matmul_share": {**_SPREAD, "median": 0.3},
        "cloze": [{"seed": 0, "total": _ACCURACY, "by_language": {"pt": _ACCURACY, "en": _ACCURACY}}],
        "first": _RUN,
    },
    "startup": {
        name: {"warm": {**_SPREAD, "median": 0.25}, "cold": None}
        for name in ("python alone", "import prosa", "prosa --help", "first token")
    },
    "world": {
        "n_bytes": 16_000_000,
        "cores": 2,
        "writing": {"mb_per_second": {**_SPREAD, "median": 1.9}, "documents": 10, "word_forms": 5000},
        "corpus": {"from the town, 1 process": _SPREAD},
    },
    "tokenizer": {
        "n_bytes": 20_000_000,
        "vocab_size": 8192,
        "training_seconds": {
            f"{name}, {cores}": _SPREAD for name in ("prosa", "tokenizers") for cores in ("one core", "all cores")
        },
        "encoding_mb_per_second": {
            f"{name}{cores}": _SPREAD for name in ("prosa", "tiktoken") for cores in ("", ", all cores")
        },
        "decoding_mb_per_second": _SPREAD,
        "bytes_per_token": {"language": {"pt": 4.1, "en": 4.2}},
    },
}


def _words(name: str, folder: Path, *more: str) -> Namespace:
    return read_words(make_parser(name, None, needs_data=True), ["--results", str(folder), *more])


@pytest.fixture
def page(tmp_path: Path) -> str:
    for name, result in _RESULTS.items():
        write_result(name, result, _words(name, tmp_path, *(["--smoke"] if name == "world" else [])))
    write_report(tmp_path, tmp_path / "benchmarks.md")
    return (tmp_path / "benchmarks.md").read_text(encoding="utf-8")


def test_each_section_has_its_numbers_and_the_command_that_repeats_them(page: str) -> None:
    assert "| Prosa, cold | 12.0 (11.0 to 14.0) | 1.8765" in page
    assert "| notes | 2,048 | 1.500 [1.400, 1.600] | 2.400 |" in page
    assert "notes, rejected: binary 2" in page
    assert "Era uma vez⟶ um gato." in page
    for name in _RESULTS.keys() - {"world"}:
        assert f"`python -m benchmarks.{name}`" in page


def test_misses_are_said_plainly(page: str) -> None:
    assert "**Missed**: Prosa's worst final loss is no higher than the recipe's best, with a cold cache in 0.4" in page
    assert "with a warm cache in 0.090 of its wall time (wanted: a tenth)" in page
    assert "The fastest setting of the recipe found here is fused AdamW; beside it, Prosa takes 0.47" in page
    assert "**Met**: `import prosa` under 0.3 s" in page
    assert "**Met**: world facts at least 80 % right" in page


def test_smoke_tests_and_missing_results_are_no_measurements(page: str) -> None:
    town = page.partition("## The built-in town")[2].partition("\n## ")[0]
    python = page.partition("## Real input: Python")[2].partition("\n## ")[0]
    assert "Not measured yet." in town
    assert "1.90" not in town
    assert "Not measured yet." in python


def test_a_result_says_where_it_comes_from(tmp_path: Path) -> None:
    path = write_result("x", {"rate": spread([3, 1, 2])}, _words("x", tmp_path))
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["result"] == {"rate": {"median": 2, "low": 1, "high": 3, "values": [3, 1, 2]}}
    assert record["machine"]["processor"]
    assert record["versions"]["torch"]
    assert record["date"].count("-") == 2


def test_a_result_names_the_words_that_repeat_it_without_the_folders_of_this_machine(tmp_path: Path) -> None:
    chosen = _words("x", tmp_path / "results", "--data", str(tmp_path), "--seeds", "2")
    assert (chosen.data, chosen.results, chosen.seeds) == (tmp_path, tmp_path / "results", 2)
    assert chosen.command == "python -m benchmarks.x --data DATA --seeds 2"
    assert _words("x", tmp_path, "--seeds", "2", f"--data={tmp_path}").command.endswith(" --seeds 2 --data DATA")


def test_a_process_that_fails_is_no_measurement() -> None:
    import sys

    assert run_process([sys.executable, "-c", "print(6 * 7)"]).stdout == "42\n"
    with pytest.raises(BenchmarkFailed, match="no such luck"):
        run_process([sys.executable, "-c", "raise SystemExit('no such luck')"])


def test_the_curve_is_in_bits_per_byte_and_skips_what_is_not_finite() -> None:
    records: list[dict[str, Any]] = [{"loss": 1.3862944, "tokens_seen": 10 * n} for n in range(1, 1001)]
    records[3]["loss"] = "nan"
    records[-1]["bits_per_byte"] = 0.98765
    curve = make_curve(records, bytes_per_token=2.0)
    assert len(curve["train"]) <= 120
    assert curve["train"][-1] == [10_000, 1.0]
    assert curve["validation"] == [[10_000, 0.9877]]


def test_lists_of_numbers_stand_on_one_line_and_texts_as_they_are(tmp_path: Path) -> None:
    result = {"course": [[1.5, -2e-05], [3, 4]], "text": "x = [1,  2]"}
    path = write_result("x", result, _words("x", tmp_path))
    text = path.read_text(encoding="utf-8")
    assert "[1.5, -2e-05]" in text
    assert json.loads(text)["result"] == result


def test_spreads_and_intervals_for_people() -> None:
    assert show_spread(None, 1) == "-"
    assert show_spread({"median": 1234.5, "low": 1.0, "high": 2.0, "values": [1234.5]}, 0, " s") == "1,234 s"
    assert show_interval(0.5, {"low": 0.4, "high": 0.61}, 2) == "0.50 [0.40, 0.61]"


def test_a_curve_is_a_small_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_curve(_RUN["curve"], tmp_path / "a" / "curve.svg", title="livros")  # type: ignore[arg-type]
    text = (tmp_path / "a" / "curve.svg").read_text(encoding="utf-8")
    assert "livros" in text
    assert "validation" in text
    assert len(text) < 60_000
