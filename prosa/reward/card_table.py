"""Report cards for people: a card, or its JSON, comes in; rich tables in English or Brazilian Portuguese go out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prosa.reward.card import RewardCard
from prosa.wording import Language, make_table, show_interval, show_number, show_percent

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_PORTUGUESE = {
    "Reward model: does it order answers as people do?": (
        "Modelo de recompensa: ele ordena as respostas como as pessoas?"
    ),
    "accuracy": "acertos",
    "95% by pairs": "95% por pares",
    "95% by prompts": "95% por prompts",
    "pairs": "pares",
    "reward model": "modelo de recompensa",
    "the longer answer": "a resposta mais longa",
    "chance": "acaso",
    "answers of near equal length": "respostas de tamanho parecido",
    "the better one is longer": "a melhor é a mais longa",
    "the better one is shorter": "a melhor é a mais curta",
    "the better one came first": "a melhor veio antes",
    "the better one came later": "a melhor veio depois",
    "one person against the others": "uma pessoa contra as outras",
    "reward model against the same": "modelo contra essas mesmas pessoas",
    "Does a difference mean what it says?": "A diferença significa o que diz?",
    "as trained": "como treinado",
    "after temperature": "com temperatura",
    "calibration error": "erro de calibração",
    "nats per pair": "nats por par",
    "claimed": "previsto",
    "happened": "ocorrido",
    "temperature": "temperatura",
    "Best of n": "O melhor de n",
    "reward": "recompensa",
    "truth": "verdade",
    "ties": "empates",
}


def card_table(card: RewardCard | Mapping[str, Any], *, language: Language = "en") -> "Group":
    """The card as tables, numbers written as the language writes them."""
    from rich.console import Group

    values = card.to_json() if isinstance(card, RewardCard) else card
    parts = [_accuracy_table(values, language), _calibration_table(values["calibration"], language)]
    if values["best_of_n"]:
        parts.append(_best_table(values["best_of_n"], language))
    return Group(*parts)


def _accuracy_table(values: Mapping[str, Any], language: Language) -> "Table":
    columns = ["", "accuracy", "95% by pairs", "95% by prompts", "pairs"]
    table = _table("Reward model: does it order answers as people do?", columns, language)
    counted = ((name, values[f"n_{name}"]) for name in ("rankings", "prompts", "ties"))
    table.caption = ", ".join(f"{show_number(n, 0, language)} {_say(name, language)}" for name, n in counted)
    length, position, ceiling = values["by_length"], values["by_position"], values["ceiling"]
    rows = [
        ("reward model", values["accuracy"]),
        ("the longer answer", values["length_only"]),
        ("one person against the others", ceiling and ceiling["human"]),
        ("reward model against the same", ceiling and ceiling["model"]),
        ("answers of near equal length", values["equal_length"]),
        ("the better one is longer", length and length["when_so"]),
        ("the better one is shorter", length and length["when_not"]),
        ("the better one came first", position and position["when_so"]),
        ("the better one came later", position and position["when_not"]),
    ]
    for label, one in rows:
        if one:
            cells = (
                show_interval(one[name], lambda share: show_percent(share, language))
                for name in ("wilson", "clustered")
            )
            table.add_row(
                _say(label, language), show_percent(one["share"], language), *cells, show_number(one["n"], 0, language)
            )
    table.add_row(_say("chance", language), show_percent(0.5, language), "", "", "")
    return table


def _calibration_table(values: Mapping[str, Any], language: Language) -> "Table":
    table = _table("Does a difference mean what it says?", ["", "as trained", "after temperature"], language)
    table.caption = f"{_say('temperature', language)} {show_number(values['temperature'], 3, language)}"
    errors = [show_percent(values[name], language) for name in ("ece_before", "ece_after")]
    table.add_row(_say("calibration error", language), *errors)
    nats = [show_number(values[name], 3, language) for name in ("log_loss_before", "log_loss_after")]
    table.add_row(_say("nats per pair", language), *nats, end_section=True)
    claimed, happened = _say("claimed", language), _say("happened", language)
    for before, after in zip(values["curve_before"], values["curve_after"], strict=True):
        cells = [
            f"{show_percent(b['confidence'], language)} → {show_percent(b['accuracy'], language)}"
            for b in (before, after)
        ]
        table.add_row(f"{claimed} → {happened}", *cells)
    return table


def _best_table(curve: Any, language: Language) -> "Table":
    has_gold = curve[0]["gold"] is not None
    table = _table("Best of n", ["n", "KL", "reward", *(["truth"] if has_gold else [])], language)
    for one in curve:
        cells = [show_number(one["kl"], 2, language), show_number(one["proxy"], 3, language)]
        table.add_row(str(one["n"]), *cells, *([show_number(one["gold"], 3, language)] if has_gold else []))
    return table


def _say(text: str, language: Language) -> str:
    return _PORTUGUESE.get(text, text) if language == "pt" else text


def _table(title: str, heads: list[str], language: Language) -> "Table":
    return make_table(_say(title, language), [_say(head, language) for head in heads])
