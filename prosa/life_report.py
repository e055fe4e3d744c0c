"""The report of a life: what a run keeps of its stages comes in, one page that opens anywhere goes out.

The page is one file without scripts or anything to fetch; it follows the reader's light or dark theme.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prosa.charts import Series, line_chart
from prosa.evaluate import MEASURES
from prosa.metrics import read_metrics
from prosa.report_texts import TEXTS
from prosa.rundir import read_lineage, write_durably
from prosa.wording import Language, show_number, show_percent

_SHOWN_MEASURES = (
    "right", "right_new_asked", "right_new_read", "hallucinates", "abstains_unknown", "abstains_known", "form",
    "declines", "over_refuses", "talks", "ends",
)  # fmt: skip
_AGES = 5


def write_report(run: Path, language: Language = "en") -> Path:
    """`run/report.html`, of all stages that there are."""
    texts = {key: one[language] for key, one in TEXTS.items()}
    environment = Environment(
        loader=PackageLoader("prosa", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        t=texts,
        language=language,
        name=run.name,
        stages=_stages(run, texts),
        curves=_curves(run, texts, language),
        ages=_ages(run),
        measures=_truth_table(run, texts, language),
        answers=_answers(run),
        chase=_chase(run, texts, language),
        judgments=_judgments(run, texts, language),
    )
    path = run / "report.html"
    write_durably(path, page.encode())
    return path


def _stages(run: Path, texts: Mapping[str, str]) -> list[dict[str, str]]:
    """What was made, in its order, each with the first letters of its hash and of what it was made from."""
    found = []
    for name, record in read_lineage(run)["stages"].items():
        hashes = [value[:10] for value in record["outputs"].values()]
        inputs = ", ".join(f"{key} {value[:10]}" for key, value in record["inputs"].items())
        found.append({"name": texts.get(f"stage {name}", name), "hash": " ".join(hashes), "inputs": inputs})
    return found


def _curves(run: Path, texts: Mapping[str, str], language: Language) -> list[dict[str, Any]]:
    wanted = (
        ("base", (("loss", "loss"), ("bits_per_byte", "bits per byte"))),
        ("sft", (("loss", "loss"), ("validation_loss", "held-out loss"))),
        ("reward", (("loss", "loss"), ("pair_accuracy", "pair accuracy"))),
        ("policy", (("reward", "reward"), ("gold", "true worth"))),
        ("policy", (("kl", "distance"),)),
    )
    curves = []
    for stage, columns in wanted:
        records = _metrics(run / stage / "metrics.jsonl")
        series = [
            Series(texts[label], [(record["step"], record[name]) for record in _thin(records, name)])
            for name, label in columns
            if any(name in record for record in records)
        ]
        chart = line_chart(series, x_label=texts["update"], y_label=series[0].name, language=language) if series else ""
        if chart:
            curves.append({"title": texts[f"stage {stage}"], "chart": Markup(chart)})
    return curves


def _chase(run: Path, texts: Mapping[str, str], language: Language) -> dict[str, Any] | None:
    """Reward and truth against the square root of the distance, where over-optimisation shows."""
    path = run / "policy" / "course.json"
    if not path.is_file():
        return None
    course = json.loads(path.read_text(encoding="utf-8"))
    series = [
        Series(
            texts[label], [(math.sqrt(max(0.0, one["kl"])), one[name]) for one in course["history"]], has_points=True
        )
        for name, label in (("reward", "reward"), ("gold", "true worth"))
        if course["history"] and name in course["history"][0]
    ]
    chart = line_chart(series, x_label=texts["root distance"], y_label=texts["reward"], language=language)
    return {"chart": Markup(chart), "stopped_by": course["stopped_by"], "steps": course["steps"]}


def _truth_table(run: Path, texts: Mapping[str, str], language: Language) -> dict[str, Any] | None:
    """Each measure at each stage that was asked, and whether the last is better or worse than the first."""
    paths = [run / "evaluation" / "sft.json", *sorted((run / "evaluation").glob("policy-round-*.json"))]
    paths = [path for path in (*paths, run / "evaluation" / "policy.json") if path.is_file()]
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if not reports:
        return None
    rows = []
    for name in _SHOWN_MEASURES:
        shares = [
            report["measures"][name]["all"]
            for report in reports
            if report["measures"].get(name, {}).get("all", {}).get("n")
        ]
        if len(shares) == len(reports):
            rows.append(
                _row(texts[f"measure {name}"], [one["share"] for one in shares], MEASURES[name].wants, language)
            )
    golds = [report["gold_reward"]["all"]["mean"] for report in reports]
    rows.append(
        {
            **_row(texts["true worth"], golds, "more", language),
            "cells": [show_number(value, 3, language) for value in golds],
        }
    )
    return {"heads": [texts.get(f"stage {path.stem}", path.stem) for path in paths], "rows": rows}


def _row(label: str, values: Sequence[float], wants: str, language: Language) -> dict[str, Any]:
    change = (values[-1] - values[0]) * (1 if wants == "more" else -1)
    verdict = "" if len(values) < 2 or abs(change) < 1e-9 else "better" if change > 0 else "worse"
    return {"label": label, "cells": [show_percent(value, language) for value in values], "verdict": verdict}


def _ages(run: Path) -> list[dict[str, Any]]:
    """What the base model wrote to the same beginning at some ages."""
    path = run / "base" / "samples.jsonl"
    records = _metrics(path)
    if not records:
        return []
    prompts = list(dict.fromkeys(record["prompt"] for record in records))
    ages = []
    for prompt in prompts[:2]:
        of_prompt = [record for record in records if record["prompt"] == prompt]
        chosen = sorted({round(i * (len(of_prompt) - 1) / (_AGES - 1)) for i in range(_AGES)})
        ages.append({"prompt": prompt, "samples": [of_prompt[i] for i in chosen]})
    return ages


def _answers(run: Path) -> dict[str, Any] | None:
    path = run / "evaluation" / "answers.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _judgments(run: Path, texts: Mapping[str, str], language: Language) -> str:
    path = run / "evaluation" / "judgments.json"
    if not path.is_file():
        return ""
    counts = json.loads(path.read_text(encoding="utf-8"))
    key = "by people" if counts["people"] else "by simulation"
    return texts[key].format(n=show_number(counts["people"] or counts["simulated"], 0, language))


def _metrics(path: Path) -> list[dict[str, Any]]:
    return read_metrics(path) if path.is_file() else []


def _thin(records: Sequence[dict[str, Any]], name: str, n: int = 200) -> list[dict[str, Any]]:
    """At most about `n` records that have the column as a number."""
    having = [record for record in records if isinstance(record.get(name), int | float)]
    return having[:: max(1, len(having) // n)]
