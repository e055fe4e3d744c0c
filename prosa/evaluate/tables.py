"""Evaluations for people: an evaluation or a comparison, or its JSON, comes in; rich tables in en or pt-BR go out."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from prosa.evaluate.evaluation import Evaluation, ModelComparison
from prosa.wording import Language, make_table, show_interval, show_name, show_number, show_percent

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_PORTUGUESE = {
    "Bits per byte (less is better)": "Bits por byte (quanto menos, melhor)",
    "an estimate on a sample of the tokens": "estimativa sobre uma amostra dos tokens",
    "bits per byte": "bits por byte",
    "95% interval": "intervalo de 95%",
    "documents": "documentos",
    "all": "tudo",
    "World facts: is the true answer the likeliest?": "Fatos do mundo: a resposta certa é a mais provável?",
    "right": "acertos",
    "items": "itens",
    "chance": "acaso",
    "items left out, longer than the model's context": "itens deixados de fora, maiores que o contexto do modelo",
    "Learned by heart: windows of {n} tokens found word for word in the training text": (
        "Decorado: janelas de {n} tokens que estão, palavra por palavra, no texto de treino"
    ),
    "written by the model": "escrito pelo modelo",
    "validation text": "texto de validação",
    "windows": "janelas",
    "share": "proporção",
    "for example from": "por exemplo, de",
    "difference": "diferença",
    "p-value": "valor p",
    "better in": "melhor em",
    "of": "de",
    "to": "a",
    "blocks": "blocos",
    "world facts": "fatos do mundo",
    "unknown": "desconhecido",
    "book": "livro",
    "article": "artigo",
    "code": "código",
    "conversation": "conversa",
    "Portuguese": "português",
    "English": "inglês",
    "home": "moradia",
    "trade": "ofício",
    "pet": "bicho",
    "dish": "prato",
    "treasure": "tesouro",
    "mother": "mãe",
    "neighbour": "vizinhança",
    "secret": "segredo",
    "phrased as in the corpus": "frase como no corpus",
    "phrased anew": "frase inédita",
}
_LABELS = {"": "unknown", "pt": "Portuguese", "en": "English", "seen": "phrased as in the corpus"} | {
    "held_out": "phrased anew"
}
_MAX_ORIGINS = 3

Say = Callable[[str], str]


def evaluation_table(evaluation: Evaluation | Mapping[str, Any], *, language: Language = "en") -> "Group":
    """Everything measured, one table for each part, numbers written as the language writes them."""
    from rich.console import Group

    values = evaluation.to_json() if isinstance(evaluation, Evaluation) else evaluation
    parts: list[Any] = [_bits_table(values["bits_per_byte"], values["xz"], language)]
    if values["cloze"]:
        parts.append(_cloze_table(values["cloze"], language))
    if values["memorisation"]:
        parts.append(_memorisation_table(values["memorisation"], language))
    return Group(*parts)


def comparison_table(
    comparison: ModelComparison | Mapping[str, Any], first: str, second: str, *, language: Language = "en"
) -> "Table":
    """Two models, called `first` and `second`, side by side; the difference is the second minus the first."""
    values = comparison.to_json() if isinstance(comparison, ModelComparison) else comparison
    say = _speaker(language)
    measured = [("bits per byte", values["bits"])]
    if len(values["bits_by_language"]) > 1:
        measured += [(_LABELS.get(name, name), one) for name, one in values["bits_by_language"].items()]
    measured += [("world facts", values["cloze"])] if values["cloze"] else []
    first, second = show_name(first), show_name(second)
    labels = [first, second, "difference", "95% interval", "p-value"]
    labels += [f"{name} {say('better in')}" for name in (first, second)]
    table = _table("", ["", *(label for label, _ in measured)], language)
    columns = [_comparison_cells(one, label == "world facts", language) for label, one in measured]
    for label, *cells in zip([*labels, "of"], *columns, strict=True):
        table.add_row(label if label in (first, second) else say(label), *cells)
    return table


def _bits_table(bits: Mapping[str, Any], xz: Mapping[str, Any] | None, language: Language) -> "Table":
    say = _speaker(language)
    columns = ["", "bits/ byte", "95% interval", *(["xz\u00a0-9e"] if xz else []), "nats/ token", "documents", "MB"]
    table = _table("Bits per byte (less is better)", columns, language)
    if not bits["is_whole"]:
        table.caption = say("an estimate on a sample of the tokens")
    xz_of = {("", "all"): xz["total"], **{("by_source", k): v for k, v in xz["by_source"].items()}} if xz else {}
    for group, label, score, is_last in _rows(bits, ("by_kind", "by_language", "by_source")):
        compressed = xz_of.get((group, label))
        table.add_row(
            show_name(label) if group == "by_source" else say(_LABELS.get(label, label)),
            show_number(score["bits_per_byte"], 3, language),
            show_interval(score["interval"], lambda value: show_number(value, 3, language)),
            *([] if not xz else ["" if compressed is None else show_number(compressed, 3, language)]),
            show_number(score["nats_per_token"], 3, language),
            show_number(score["n_documents"], 0, language),
            show_number(score["n_bytes"] / 1e6, 2, language),
            end_section=is_last,
        )
    return table


def _cloze_table(cloze: Mapping[str, Any], language: Language) -> "Table":
    say = _speaker(language)
    columns = ["", "right", "95% interval", "chance", "items"]
    table = _table("World facts: is the true answer the likeliest?", columns, language)
    if cloze["n_skipped"]:
        left_out = say("items left out, longer than the model's context")
        table.caption = f"{show_number(cloze['n_skipped'], 0, language)} {left_out}"
    for _, label, accuracy, is_last in _rows(cloze, ("by_language", "by_phrasing", "by_relation")):
        table.add_row(
            say(_LABELS.get(label, label)),
            show_percent(accuracy["accuracy"], language),
            show_interval(accuracy["interval"], lambda value: show_percent(value, language)),
            show_percent(accuracy["chance"], language),
            show_number(accuracy["n"], 0, language),
            end_section=is_last,
        )
    return table


def _memorisation_table(memorisation: Mapping[str, Any], language: Language) -> "Table":
    say = _speaker(language)
    title = "Learned by heart: windows of {n} tokens found word for word in the training text"
    table = _table(title, ["", "share", "95% interval", "windows"], language)
    table.title = say(title).format(n=memorisation["window_tokens"])
    for key, label in (("generated", "written by the model"), ("validation", "validation text")):
        share = memorisation[key]
        table.add_row(
            say(label),
            show_percent(share["share"], language) if share["n"] else "",
            show_interval(share["interval"], lambda value: show_percent(value, language)) if share["n"] else "",
            show_number(share["n"], 0, language),
        )
    origins = list(dict.fromkeys(copy["origin"] for copy in memorisation["copies"]))[:_MAX_ORIGINS]
    if origins:
        table.caption = f"{say('for example from')} {', '.join(map(show_name, origins))}"
    return table


def _rows(values: Mapping[str, Any], groups: tuple[str, ...]) -> list[tuple[str, str, Mapping[str, Any], bool]]:
    """(group, label, what was measured, ends its group): the total, then every group that divides it."""
    rows = [("", "all", values["total"], True)]
    for group in groups:
        # Source code is a kind and a language: it stands among the kinds.
        items = [item for item in values[group].items() if item[0] != "code" or group != "by_language"]
        if len(items) > 1:
            rows += [(group, label, one, number == len(items)) for number, (label, one) in enumerate(items, start=1)]
    return rows


def _comparison_cells(one: Mapping[str, Any], is_share: bool, language: Language) -> list[str]:
    def show(value: float) -> str:
        return show_percent(value, language) if is_share else show_number(value, 4, language)

    def signed(value: float) -> str:
        return ("+" if value > 0 else "") + show(value)

    say, p_value = _speaker(language), one["p_value"]
    return [
        show(one["a"]),
        show(one["b"]),
        signed(one["difference"]),
        f"{signed(one['interval']['low'])} {say('to')}\n{signed(one['interval']['high'])}",
        show_number(p_value, 4, language) if p_value >= 0.0001 else f"< {show_number(0.0001, 4, language)}",
        show_number(one["n_better_a"], 0, language),
        show_number(one["n_better_b"], 0, language),
        f"{show_number(one['n'], 0, language)}\n{say(one['pairs'])}",
    ]


def _speaker(language: Language) -> Say:
    """Turns an English text of this module into `language`; names that are not in the list stay as they are."""
    return (lambda text: _PORTUGUESE.get(text, text)) if language == "pt" else (lambda text: text)


def _table(title: str, heads: list[str], language: Language) -> "Table":
    say = _speaker(language)
    return make_table(say(title), [say(head) for head in heads])
