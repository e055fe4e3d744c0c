"""How far people agree on real rankings, and how often the longer answer wins: our numbers beside those others give.

The sets lie in DATA/prefs: argument pairs with five votes (UKPConvArg1), questions about stories ranked by three
reviewers (SQuALITY), graded essays (Essay-BR), OpenAssistant's ranked replies, and HH-RLHF's harmless test pairs.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.data_paths import DataMissing, locate
from benchmarks.measure import make_parser, read_words, say, write_result
from benchmarks.tables import table, verdict
from prosa.corpus import ReadReport
from prosa.preferences import (
    RankedAnswers,
    annotator_weights,
    krippendorff_alpha,
    length_bias,
    majority_agreement,
    pairwise_agreement,
    ranking_alpha,
    ranking_w,
)
from prosa.preferences.agreement import Metric
from prosa.preferences.human_data import (
    read_essay_br,
    read_hh_pairs,
    read_oasst_ranks,
    read_squality_ranks,
    read_ukp_pairs,
)

_SMOKE_RANKINGS = 100
_TOLERANCE = 0.005
# One annotator against the majority of the others, and always choosing the longer text, as told of these files.
_STATED_MAJORITY = 0.79
_STATED_LENGTH = {"ukpconvarg1": 0.774, "essay_br": 0.724, "oasst_ranks": 0.696, "hh_rlhf_harmless": 0.439}
# Four observers, twelve units: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C.
_WORKED = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
_PUBLISHED_ALPHA: dict[Metric, float] = {"nominal": 0.743, "ordinal": 0.815, "interval": 0.849}


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("agreement", __doc__, needs_data=True)
    chosen = read_words(parser, argv)
    result: dict[str, Any] = {}
    for name, measure in _SETS.items():
        try:
            result[name] = measure(chosen.data, _SMOKE_RANKINGS if chosen.smoke else None)
        except DataMissing as error:
            say(f"{name}: {error}")
            continue
        say(f"{name}: {summarize(result[name])}")
    if result:
        result["worked_table"] = measure_worked_table()
        say(f"Krippendorff's worked table: {result['worked_table']} (published: {_PUBLISHED_ALPHA})")
        write_result("agreement", result, chosen)
    return 0


def measure_worked_table() -> dict[str, float]:
    """Alpha of the published example by each metric, to the three digits that are published."""
    values = np.array([[np.nan if mark == "." else float(mark) for mark in row] for row in _WORKED])
    return {metric: round(krippendorff_alpha(values, metric), 3) for metric in get_args(Metric)}


def measure_ukp(data: Path, n: int | None) -> dict[str, Any]:
    """Agreement of the votes; the longer argument on the pairs with a clear label."""
    files = [locate(data, f"prefs/ukpconvarg1/{name}.jsonl.gz") for name in ("pairs", "arguments")]
    votes = list(islice(read_ukp_pairs(*files, ReadReport()), n))
    labels = list(islice(read_ukp_pairs(*files, ReadReport(), label="strict"), n))
    return {
        **measure_agreement(votes),
        "stated_majority": _STATED_MAJORITY,
        **measure_length("ukpconvarg1", labels),
        "weights": describe_weights(votes),
    }


def measure_squality(data: Path, n: int | None) -> dict[str, Any]:
    """Agreement of three reviewers on three answers; two of the answers are models', which lose nearly always."""
    rankings = _read(read_squality_ranks, data, "prefs/squality_ranks/ranks.jsonl.gz", n)
    return {**measure_agreement(rankings), **measure_length("squality_ranks", rankings)}


def measure_essays(data: Path, n: int | None) -> dict[str, Any]:
    """Pairs of essays on one prompt whose grades are at least 80 points apart."""
    path = locate(data, "prefs/essay_br/ranked_essays.jsonl.gz")
    return measure_length("essay_br", list(islice(read_essay_br(path, ReadReport(), min_gap=80), n)))


def measure_oasst(data: Path, n: int | None) -> dict[str, Any]:
    return measure_length("oasst_ranks", _read(read_oasst_ranks, data, "prefs/oasst_ranks/ranks.jsonl.gz", n))


def measure_hh(data: Path, n: int | None) -> dict[str, Any]:
    return measure_length("hh_rlhf_harmless", _read(read_hh_pairs, data, "prefs/hh_rlhf_harmless/pairs.jsonl.gz", n))


def measure_agreement(ranked: Sequence[RankedAnswers]) -> dict[str, Any]:
    """Every coefficient with its interval, resampled over prompts."""
    w, w_by_chance = ranking_w(ranked)
    return {
        "n_rankings": len(ranked),
        "n_annotators": len({one.annotator for one in ranked}),
        "alpha": asdict(ranking_alpha(ranked)),
        "kendall_w": asdict(w),
        "kendall_w_by_chance": w_by_chance,
        "pairwise": asdict(pairwise_agreement(ranked)),
        "majority": asdict(majority_agreement(ranked)),
    }


def measure_length(name: str, ranked: Sequence[RankedAnswers]) -> dict[str, Any]:
    """The accuracy of always choosing the longer text, in characters."""
    test = length_bias(ranked)
    return {"longer_wins": asdict(test.share), "p_value": test.p_value, "stated_length": _STATED_LENGTH.get(name)}


def describe_weights(ranked: Sequence[RankedAnswers]) -> dict[str, float]:
    """How many annotators would count for little, and how much they voted."""
    weights = annotator_weights(ranked)
    doubted = {name for name, weight in weights.items() if weight < 0.2}
    return {
        "annotators_below_a_fifth": len(doubted),
        "share_of_rankings": sum(one.annotator in doubted for one in ranked) / max(len(ranked), 1),
    }


def summarize(result: dict[str, Any]) -> str:
    """One line for whoever waits."""
    parts = [f"the longer wins {result['longer_wins']['value']:.3f} (stated: {result['stated_length']})"]
    if "majority" in result:
        parts.append(f"one against the majority {result['majority']['value']:.3f}")
        parts.append(f"alpha {result['alpha']['value']:.3f}")
    return ", ".join(parts)


def write_agreement(record: dict[str, Any]) -> str:
    """The section of the page: agreement where several people judged the same, and the longer text everywhere."""
    sets = dict(record["result"])
    is_as_published = sets.pop("worked_table") == _PUBLISHED_ALPHA
    lengths = [
        (name, _show(one["longer_wins"]), "" if one["stated_length"] is None else f"{one['stated_length']:.3f}")
        for name, one in sets.items()
    ]
    parts = [
        "The longer text wins (share of preferences, 95 % interval over prompts), beside what was stated before:\n"
    ]
    parts.append(table(("", "measured", "stated"), lengths))
    rows = [
        (label, *(_show(one[key]) if one[key]["n"] else "" for one in sets.values() if "alpha" in one))
        for label, key in (
            ("Krippendorff's alpha, ordinal", "alpha"),
            ("Kendall's W", "kendall_w"),
            ("two annotators agree", "pairwise"),
            ("one agrees with the majority of the others", "majority"),
        )
    ]
    parts.append(table(("", *(name for name, one in sets.items() if "alpha" in one)), rows))
    parts.append(
        verdict(is_as_published, "Krippendorff's alpha of his worked table is the published one, three metrics")
    )
    ukp = sets.get("ukpconvarg1")
    if ukp is not None:
        near = abs(ukp["majority"]["value"] - ukp["stated_majority"]) < _TOLERANCE
        parts.append(verdict(near, "argument pairs: one annotator agrees with the majority in 79 %, as stated"))
    stated = [(one["longer_wins"]["value"], one["stated_length"]) for one in sets.values() if one["stated_length"]]
    near = all(abs(value - known) < _TOLERANCE for value, known in stated)
    parts.append(verdict(near, "the length baselines are those stated, to half a point"))
    return "\n".join(parts)


def _show(estimate: dict[str, Any]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _read(
    read: Callable[[Path, ReadReport], Iterable[RankedAnswers]], data: Path, name: str, n: int | None
) -> list[RankedAnswers]:
    return list(islice(read(locate(data, name), ReadReport()), n))


_SETS: dict[str, Callable[[Path, int | None], dict[str, Any]]] = {
    "ukpconvarg1": measure_ukp,
    "squality_ranks": measure_squality,
    "essay_br": measure_essays,
    "oasst_ranks": measure_oasst,
    "hh_rlhf_harmless": measure_hh,
}


if __name__ == "__main__":
    sys.exit(main())
