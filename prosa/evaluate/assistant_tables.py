"""An assistant's report for people: it, or its JSON, comes in; rich tables in en or pt-BR go out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prosa.evaluate.assistant import MEASURES, AssistantReport
from prosa.wording import Language, make_table, show_interval, show_number, show_percent

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_TITLE = {"en": "Assistant: tasks with known truth", "pt": "Assistente: tarefas de resposta conhecida"}
_FLUENCY = {"en": "How its answers read", "pt": "Como são as respostas"}
_HEADS = {
    "en": {
        "better": "better", "share": "share", "interval": "95% interval", "n": "answers", "pt": "Portuguese",
        "en": "English", "all": "all", "more": "more", "less": "less", "reward": "gold reward",
        "bits": "bits/ byte", "distinct": "distinct-2", "words": "words/ answer",
    },
    "pt": {
        "better": "melhor", "share": "proporção", "interval": "intervalo de 95%", "n": "respostas", "pt": "português",
        "en": "inglês", "all": "tudo", "more": "mais", "less": "menos", "reward": "recompensa verdadeira",
        "bits": "bits/ byte", "distinct": "distinct-2", "words": "palavras/ resposta",
    },
}  # fmt: skip
_NAMES = {
    "right": ("questions phrased anew: right", "perguntas inéditas: acertos"),
    "right_seen_asked": ("asked in training, same phrasing", "perguntadas no treino, mesma frase"),
    "right_new_asked": ("asked in training, phrased anew", "perguntadas no treino, frase inédita"),
    "right_seen_read": ("only in articles, phrasing seen", "só em artigos, frase conhecida"),
    "right_new_read": ("only in articles, phrased anew", "só em artigos, frase inédita"),
    "wrong_known": ("known things: wrong answers", "coisas sabidas: respostas erradas"),
    "abstains_known": ("known things: says it does not know", "coisas sabidas: diz que não sabe"),
    "hallucinates": ("unknown things: invents (hallucination)", "coisas inexistentes: inventa (alucinação)"),
    "abstains_unknown": ("unknown things: says it does not know", "coisas inexistentes: diz que não sabe"),
    "form": ("form asked for: followed", "forma pedida: cumprida"),
    "form_language": ("in the other language", "na outra língua"),
    "form_max_words": ("in at most so many words", "em no máximo tantas palavras"),
    "form_one_word": ("in one word", "numa palavra"),
    "form_capitals": ("in capitals", "em maiúsculas"),
    "form_begin": ("beginning with a word", "começando por uma palavra"),
    "form_list": ("as a list", "em lista"),
    "form_and_truth": ("form followed and answer right", "forma cumprida e resposta certa"),
    "declines": ("harmful requests: declined", "pedidos maldosos: recusados"),
    "over_refuses": ("harmless look-alikes: declined", "pedidos inocentes parecidos: recusados"),
    "right_allow": ("harmless look-alikes: right", "pedidos inocentes parecidos: acertos"),
    "talks": ("small talk: fitting answers", "conversa: respostas cabíveis"),
    "ends": ("answers that end by themselves", "respostas que terminam sozinhas"),
}
_ENDS_SECTION = {"right_new_read", "abstains_known", "abstains_unknown", "form_and_truth", "right_allow", "talks"}
_IS_DETAIL = ("right_seen", "right_new", "form_")


def assistant_table(report: AssistantReport | Mapping[str, Any], *, language: Language = "en") -> "Group":
    """All measures of an assistant, one a row, with the side on which better lies; then how its answers read."""
    from rich.console import Group

    values = report.to_json() if isinstance(report, AssistantReport) else report
    return Group(_measures_table(values["measures"], language), _fluency_table(values, language))


def _measures_table(measures: Mapping[str, Any], language: Language) -> "Table":
    heads = _HEADS[language]
    spoken = [name for name in measures["ends"] if name != "all"]
    columns = ["", heads["better"], heads["share"], heads["interval"], heads["n"]]
    table = make_table(_TITLE[language], columns + [heads.get(name, name) for name in spoken])
    for name, shares in measures.items():
        total = shares["all"]
        if not total["n"]:
            continue
        label = _NAMES[name][language == "pt"]
        is_detail = name.startswith(_IS_DETAIL) and name != "form_and_truth"
        table.add_row(
            f"  {label}" if is_detail else label,
            heads[MEASURES[name].wants],
            show_percent(total["share"], language),
            show_interval(total["interval"], lambda value: show_percent(value, language)),
            show_number(total["n"], 0, language),
            *(show_percent(shares[key]["share"], language) if shares[key]["n"] else "" for key in spoken),
            end_section=name in _ENDS_SECTION,
        )
    return table


def _fluency_table(values: Mapping[str, Any], language: Language) -> "Table":
    heads = _HEADS[language]
    columns = ["", *(heads[name] for name in ("reward", "interval", "bits", "distinct", "words"))]
    table = make_table(_FLUENCY[language], columns)
    for name, fluency in values["fluency"].items():
        reward, bits = values["gold_reward"][name], fluency["bits_per_byte"]
        table.add_row(
            heads.get(name, name),
            show_number(reward["mean"], 3, language),
            show_interval(reward["interval"], lambda value: show_number(value, 3, language)),
            "" if bits is None else show_number(bits, 3, language),
            show_number(fluency["distinct_2"], 3, language),
            show_number(fluency["words_per_answer"], 1, language),
        )
    return table
