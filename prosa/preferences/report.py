"""What the judgments say about items, models and annotators: items and judgments come in, a report goes out.

`describe_judgments` gives plain values for JSON, `judgments_table` shows them to people in English or Portuguese.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import median
from textwrap import fill
from typing import TYPE_CHECKING, Any

from prosa.preferences.agreement import (
    Estimate,
    agreement_with,
    majority_agreement,
    pairwise_agreement,
    ranking_alpha,
    ranking_w,
    self_agreement,
)
from prosa.preferences.bias import BiasTest, length_bias, position_bias
from prosa.preferences.judgments import Item, Judgment, RankedAnswers
from prosa.preferences.reliability import annotator_weights
from prosa.preferences.scores import model_scores
from prosa.wording import Language, show_name, show_number, show_percent

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_PORTUGUESE = {
    "Judgments": "Julgamentos",
    "items": "itens",
    "judged": "julgados",
    "judgments": "julgamentos",
    "skipped": "pulados",
    "all answers bad": "todas as respostas ruins",
    "with ties": "com empates",
    "seconds (median)": "segundos (mediana)",
    "Agreement between people": "Concordância entre pessoas",
    "Agreement between simulated annotators": "Concordância entre anotadores simulados",
    "Krippendorff's alpha (ordinal)": "alfa de Krippendorff (ordinal)",
    "Kendall's W": "W de Kendall",
    "two annotators agree": "dois anotadores concordam",
    "one agrees with the majority": "um concorda com a maioria",
    "annotators agree with themselves": "anotadores concordam consigo mesmos",
    "earlier shown wins": "vence a mostrada antes",
    "longer wins": "vence a mais longa",
    "value": "valor",
    "95% interval": "intervalo de 95%",
    "by chance": "ao acaso",
    "measured on": "medido em",
    "p-value": "valor p",
    "Annotators": "Anotadores",
    "Their agreement and leanings": "Concordância e inclinações deles",
    "* by chance alone in fewer than 1 of 100 cases": "* por puro acaso, em menos de 1 de cada 100 casos",
    "to": "a",
    "annotator": "anotador",
    "with others": "com os outros",
    "with known": "com o gabarito",
    "with self": "consigo mesmo",
    "weight": "peso",
    "simulated": "simulado",
    "Models": "Modelos",
    "model": "modelo",
    "strength": "força",
    "wins": "vitórias",
    "comparisons": "comparações",
    "Not enough judgments of the same items by different annotators to measure agreement.": (
        "Ainda não há julgamentos suficientes dos mesmos itens por anotadores diferentes para medir a concordância."
    ),
}

# Heads fold, so that every table fits a terminal of 80 columns.
_HEAD_WIDTH = 10

Say = Callable[[str], str]


def describe_judgments(items: Sequence[Item], judgments: Sequence[Judgment], *, seed: int = 0) -> dict[str, Any]:
    """Everything that can be said, as plain values; what cannot be measured is None.

    `judgments` are the effective ones, in order. Agreement and model scores are those of people when there are any,
    else of simulated annotators: `group` says which. Every annotator is compared with the others of that group.
    """
    known = {item.id: item for item in items}
    judgments = [one for one in judgments if one.item_id in known and not one.retracts]
    is_people = any(not one.is_simulated for one in judgments)
    group = [one for one in judgments if one.is_simulated != is_people]
    ranked = _ranked(known, group)
    weights = annotator_weights(ranked)
    w, w_by_chance = ranking_w(ranked, seed=seed)
    return {
        "n_items": len(known),
        "n_items_judged": len({one.item_id for one in judgments if one.ranking is not None}),
        **_count(judgments),
        "n_annotators": len({one.annotator for one in judgments if not one.is_simulated}),
        "n_simulated_annotators": len({one.annotator for one in judgments if one.is_simulated}),
        "group": "people" if is_people else "simulated",
        "agreement": {
            "alpha": _estimate(ranking_alpha(ranked, seed=seed)),
            "kendall_w": _estimate(w),
            "kendall_w_by_chance": None if math.isnan(w_by_chance) else w_by_chance,
            "pairwise": _estimate(pairwise_agreement(ranked, seed=seed)),
            "majority": _estimate(majority_agreement(ranked, seed=seed)),
            "self": _estimate(self_agreement(ranked, seed=seed)),
        },
        "position_bias": _bias(position_bias(group, seed=seed)),
        "length_bias": _bias(length_bias(ranked, seed=seed)),
        "annotators": [
            _describe_annotator(name, known, judgments, ranked, weights, seed)
            for name in dict.fromkeys(one.annotator for one in judgments)
        ],
        "models": [
            {"model": one.model, "win_share": one.win_share, "strength": asdict(one.strength)}
            for one in model_scores(items, ranked, seed=seed)
        ],
    }


def judgments_table(report: Mapping[str, Any], *, language: Language = "en") -> "Group":
    """The report of `describe_judgments` for people: counts, agreement, annotators, models."""
    from rich.console import Group

    parts: list[Any] = [_counts_table(report, language), _agreement_table(report, language)]
    if report["annotators"]:
        parts.append(_annotators_table(report["annotators"], language))
        parts.append(_opinions_table(report["annotators"], language))
    if report["models"]:
        parts.append(_models_table(report["models"], language))
    return Group(*parts)


def _describe_annotator(
    name: str,
    items: Mapping[str, Item],
    judgments: Sequence[Judgment],
    group: Sequence[RankedAnswers],
    weights: Mapping[str, float],
    seed: int,
) -> dict[str, Any]:
    own = [one for one in judgments if one.annotator == name]
    ranked = _ranked(items, own)
    judged = {one.item_id for one in ranked}
    others = [one for one in group if one.annotator != name and one.item_id in judged]
    gold = [
        replace(one, ranking=known, annotator="gold")
        for one in ranked
        if (known := items[one.item_id].gold) is not None
    ]
    return {
        "name": name,
        "is_simulated": any(one.is_simulated for one in own),
        **_count(own),
        "with_others": _estimate(agreement_with(ranked, others, seed=seed)),
        "with_gold": _estimate(agreement_with(ranked, gold, seed=seed)),
        "with_self": _estimate(self_agreement(ranked, seed=seed)),
        "position_bias": _bias(position_bias(own, seed=seed)),
        "length_bias": _bias(length_bias(ranked, seed=seed)),
        "weight": weights.get(name),
    }


def _count(judgments: Sequence[Judgment]) -> dict[str, Any]:
    """Counts, and the median of the seconds where they were taken."""
    seconds = [one.seconds for one in judgments if one.seconds > 0 and one.ranking is not None]
    return {
        "n_judgments": sum(one.ranking is not None for one in judgments),
        "n_skipped": sum(one.ranking is None for one in judgments),
        "n_all_bad": sum(one.is_all_bad for one in judgments),
        "n_with_ties": sum(bool(one.ranking.ties()) for one in judgments if one.ranking is not None),
        "median_seconds": median(seconds) if seconds else None,
    }


def _ranked(items: Mapping[str, Item], judgments: Sequence[Judgment]) -> list[RankedAnswers]:
    return [
        RankedAnswers(
            item_id=one.item_id,
            messages=items[one.item_id].messages,
            answers=tuple(answer.text for answer in items[one.item_id].answers),
            ranking=one.ranking,
            annotator=one.annotator,
        )
        for one in judgments
        if one.ranking is not None
    ]


def _estimate(estimate: Estimate) -> dict[str, Any] | None:
    return asdict(estimate) if estimate.n and not math.isnan(estimate.value) else None


def _bias(test: BiasTest) -> dict[str, Any] | None:
    share = _estimate(test.share)
    return None if share is None else {"share": share, "p_value": test.p_value}


def _counts_table(report: Mapping[str, Any], language: Language) -> "Table":
    table = _table("Judgments", ["", ""], language)
    rows = [
        ("items", report["n_items"]),
        ("judged", report["n_items_judged"]),
        ("judgments", report["n_judgments"]),
        ("skipped", report["n_skipped"]),
        ("all answers bad", report["n_all_bad"]),
        ("with ties", report["n_with_ties"]),
    ]
    say = _speaker(language)
    for label, value in rows:
        table.add_row(say(label), show_number(value, 0, language))
    if report["median_seconds"] is not None:
        table.add_row(say("seconds (median)"), show_number(report["median_seconds"], 1, language))
    return table


def _agreement_table(report: Mapping[str, Any], language: Language) -> "Table":
    say, agreement = _speaker(language), report["agreement"]
    who = "people" if report["group"] == "people" else "simulated annotators"
    table = _table(
        f"Agreement between {who}", ["", "value", "95% interval", "by chance", "measured on", "p-value"], language
    )
    percent, plain = show_percent, lambda value, language: show_number(value, 3, language)
    rows: list[tuple[str, Any, Callable[[float, Language], str], float | None, float | None]] = [
        ("Krippendorff's alpha (ordinal)", agreement["alpha"], plain, 0.0, None),
        ("Kendall's W", agreement["kendall_w"], plain, agreement["kendall_w_by_chance"], None),
        ("two annotators agree", agreement["pairwise"], percent, 0.5, None),
        ("one agrees with the majority", agreement["majority"], percent, 0.5, None),
        ("annotators agree with themselves", agreement["self"], percent, 0.5, None),
    ]
    for key, label in (("position_bias", "earlier shown wins"), ("length_bias", "longer wins")):
        bias = report[key] or {"share": None, "p_value": None}
        rows.append((label, bias["share"], percent, 0.5, bias["p_value"]))
    for label, estimate, show, by_chance, p_value in rows:
        if estimate is not None:
            table.add_row(
                say(label),
                show(estimate["value"], language),
                _interval(estimate, show, language),
                "" if by_chance is None else show(by_chance, language),
                show_number(estimate["n"], 0, language),
                "" if p_value is None else _p_value(p_value, language),
            )
    if agreement["pairwise"] is None:
        table.caption = say("Not enough judgments of the same items by different annotators to measure agreement.")
    return table


def _annotators_table(annotators: Sequence[Mapping[str, Any]], language: Language) -> "Table":
    columns = ["annotator", "judged", "skipped", "with ties", "seconds (median)", "weight"]
    table = _table("Annotators", columns, language)
    for one in annotators:
        seconds, weight = one["median_seconds"], one["weight"]
        table.add_row(
            _annotator(one, language),
            *(show_number(one[key], 0, language) for key in ("n_judgments", "n_skipped", "n_with_ties")),
            "" if seconds is None else show_number(seconds, 1, language),
            "" if weight is None else show_number(weight, 2, language),
        )
    return table


def _opinions_table(annotators: Sequence[Mapping[str, Any]], language: Language) -> "Table":
    """How each annotator prefers; a column that nobody fills is left out."""
    agreement = {"with_others": "with others", "with_gold": "with known", "with_self": "with self"}
    biases = {"position_bias": "earlier shown wins", "length_bias": "longer wins"}
    shown = {key: label for key, label in (agreement | biases).items() if any(one[key] for one in annotators)}
    table = _table("Their agreement and leanings", ["annotator", *shown.values()], language)
    table.caption = _speaker(language)("* by chance alone in fewer than 1 of 100 cases")
    for one in annotators:
        cells = []
        for key in shown:
            bias = one[key] if key in biases else {"share": one[key], "p_value": None}
            cells.append("" if not bias else _cell(bias["share"], bias["p_value"], language))
        table.add_row(_annotator(one, language), *cells)
    return table


def _models_table(models: Sequence[Mapping[str, Any]], language: Language) -> "Table":
    table = _table("Models", ["model", "strength", "95% interval", "wins", "comparisons"], language)
    for one in models:
        strength = one["strength"]
        table.add_row(
            show_name(one["model"][:16]),
            show_number(strength["value"], 2, language),
            _interval(strength, lambda value, language: show_number(value, 2, language), language),
            show_percent(one["win_share"], language),
            show_number(strength["n"], 0, language),
        )
    return table


def _annotator(one: Mapping[str, Any], language: Language) -> str:
    """The name, said to be simulated where it is."""
    name = show_name(one["name"])
    return f"{name}\n[dim]{_speaker(language)('simulated')}[/dim]" if one["is_simulated"] else name


def _cell(estimate: Mapping[str, Any] | None, p_value: float | None, language: Language) -> str:
    """A share and its interval below, with a star where it differs from one half for certain."""
    if estimate is None:
        return ""
    star = "*" if p_value is not None and p_value < 0.01 else ""
    low, high = (show_number(100 * estimate[key], 0, language) for key in ("low", "high"))
    return f"{show_percent(estimate['value'], language)}{star}\n[dim]{low}–{high}%[/dim]"


def _table(title: str, columns: Sequence[str], language: Language) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    say = _speaker(language)
    table = Table(title=say(title), title_justify="left", caption_justify="left", box=SIMPLE)
    for number, column in enumerate(columns):
        head = fill(say(column), _HEAD_WIDTH, break_long_words=False)
        table.add_column(head, justify="right" if number else "left", no_wrap=number > 0, overflow="fold")
    return table


def _speaker(language: Language) -> Say:
    return (lambda text: _PORTUGUESE.get(text, text)) if language == "pt" else (lambda text: text)


def _interval(estimate: Mapping[str, Any], show: Callable[[float, Language], str], language: Language) -> str:
    return f"{show(estimate['low'], language)} {_speaker(language)('to')} {show(estimate['high'], language)}"


def _p_value(value: float, language: Language) -> str:
    return show_number(value, 4, language) if value >= 0.0001 else f"< {show_number(0.0001, 4, language)}"
