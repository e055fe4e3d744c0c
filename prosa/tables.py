"""What people read at the terminal: tables, samples and summaries, in English and in Portuguese.

Reports go to stdout, the story of a run to stderr; both are plain text where there is no terminal.
"""

import locale
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from prosa.corpus import ReadReport
from prosa.device import Device
from prosa.evaluate import Evaluation, ModelComparison, comparison_table, evaluation_table
from prosa.generate import Candidate, ExplainedStep, render_step
from prosa.training import Choice
from prosa.wording import Language

_BAR_WIDTH = 30
_SAMPLE_CHARACTERS = 400

PHRASES: dict[str, dict[Language, str]] = {
    "corpus": {"en": "corpus", "pt": "corpus"},
    "tokenizer": {"en": "tokenizer", "pt": "tokenizador"},
    "tokens": {"en": "tokens", "pt": "tokens"},
    "base": {"en": "base model", "pt": "modelo base"},
    "evaluation": {"en": "evaluation", "pt": "avaliação"},
    "sft": {"en": "fine-tuning", "pt": "ajuste fino"},
    "sample": {"en": "answers", "pt": "respostas"},
    "rank": {"en": "rankings", "pt": "julgamentos"},
    "reward": {"en": "reward", "pt": "recompensa"},
    "policy": {"en": "policy", "pt": "política"},
    "report": {"en": "report", "pt": "relatório"},
    "ranked by people": {"en": "by people", "pt": "de pessoas"},
    "simulated": {
        "en": "{n:,} new ones, by SIMULATED annotators; rank {enough} prompts with `prosa rank` to replace them",
        "pt": "{n:,} novos, de anotadores SIMULADOS; julgue {enough} perguntas com `prosa rank` para substituí-los",
    },
    "nobody ranks": {
        "en": "rank the answers to at least {n} prompts, then run again: prosa rank {run} --annotator NAME",
        "pt": "julgue as respostas de pelo menos {n} perguntas e rode de novo: prosa rank {run} --annotator NOME",
    },
    "kept": {"en": "unchanged, kept", "pt": "sem mudanças, mantido"},
    "documents": {"en": "documents", "pt": "documentos"},
    "for training": {"en": "for training", "pt": "para treino"},
    "for validation": {"en": "for validation", "pt": "para validação"},
    "bytes a token": {"en": "bytes a token", "pt": "bytes por token"},
    "plan": {"en": "The plan", "pt": "O plano"},
    "samples": {"en": "What it writes now", "pt": "O que ele escreve agora"},
    "next token": {"en": "What could come after", "pt": "O que poderia vir depois de"},
    "made": {"en": "What was made where", "pt": "O que foi feito e onde está"},
    "try": {"en": "Go on with", "pt": "Continue com"},
    "stopped": {
        "en": "stopped and saved; the same command goes on from here",
        "pt": "parado e salvo; o mesmo comando continua daqui",
    },
    "repeats": {
        "en": "is read {epochs:.0f} times; beyond four times a model learns little more from it",
        "pt": "é lido {epochs:.0f} vezes; além de quatro, um modelo aprende pouco mais com ele",
    },
    "files": {"en": "files", "pt": "arquivos"},
    "file": {"en": "file", "pt": "arquivo"},
}


def say_in(language: Language, key: str) -> str:
    return PHRASES[key][language]


def choose_language(wanted: str = "") -> Language:
    """pt or en: what was asked for, else the system's locale."""
    if wanted:
        return "pt" if wanted == "pt" else "en"
    name = locale.getlocale()[0] or ""
    return "pt" if name.lower().startswith(("pt", "portuguese")) else "en"


def err_console() -> Console:
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)


def out_console() -> Console:
    """Wide enough for whole tables where stdout is a file or a pipe."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def print_stage(language: Language, stage: str, text: str, seconds: float | None) -> None:
    """One line a stage: its name, what it made, how long it took."""
    line = Text("● ", style="green").append(f"{say_in(language, stage):<13}", style="bold").append(text)
    if seconds is not None:
        line.append(f"  {seconds:.1f} s", style="dim")
    err_console().print(line)


def print_warning(text: str) -> None:
    err_console().print(Text(f"! {text}", style="yellow"))


def print_left_out(report: ReadReport, things: str) -> None:
    """A warning for each reason why some of the things were not read."""
    for reason, n in {**report.rejected.counts, **report.skipped.counts}.items():
        print_warning(f"{n:,} {things}: {reason}")


def print_choices(
    choices: Sequence[Choice], device: Device, *, language: Language = "en", to_stdout: bool = False
) -> None:
    """Every derived value with its reason."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title=say_in(language, "plan"), title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    rate = f"{device.matmul_flops_per_second / 1e9:,.0f} GFLOP/s"
    table.add_row("device", f"{device.name}, {device.threads} threads", f"matrix products at {rate}")
    table.add_row("numbers", device.dtype, device.reason)
    for choice in choices:
        table.add_row(choice.name, choice.value, choice.reason)
    (out_console() if to_stdout else err_console()).print(table)


def print_corpus(description: Mapping[str, Any]) -> None:
    """The report of a corpus: sources, kinds and languages, what was rejected or cleaned, and some samples."""
    console = out_console()
    table = _count_table("source", "read", "kept", "bytes", "validation", "duplicates", "rejected")
    for source in description["sources"]:
        table.add_row(
            source["name"],
            f"{source['documents_read']:,}",
            f"{sum(source['documents'].values()):,}",
            show_bytes(sum(source["bytes"].values())),
            f"{source['documents']['validation']:,}",
            f"{source['duplicates']:,}",
            f"{sum(found['count'] for found in source['rejected'].values()):,}",
        )
    console.print(table)
    table = _count_table("", "documents", "bytes")
    for group in ("kinds", "languages", "licences"):
        for name, count in description[group].items():
            table.add_row(f"{group.removesuffix('s')} {name}", f"{count['documents']:,}", show_bytes(count["bytes"]))
    for split, tokens in description.get("tokens", {}).items():
        table.add_row(f"{split} tokens", f"{sum(tokens.values()):,}", "")
    console.print(table)
    for source in description["sources"]:
        _print_findings(console, source)
    for warning in description["warnings"]:
        console.print(Text(f"! {warning}", style="yellow"))
    for sample in description["samples"]:
        title = f"{sample['source']}: {sample['kind']}, {sample['language'] or '?'}, {sample['licence']}"
        text = (
            sample["text"] if len(sample["text"]) <= _SAMPLE_CHARACTERS else sample["text"][:_SAMPLE_CHARACTERS] + "…"
        )
        console.print(Text(title, style="bold"))
        console.print(Padding(Text(text), (0, 2, 1, 2)))


def _print_findings(console: Console, source: Mapping[str, Any]) -> None:
    for what in ("rejected", "skipped", "repaired"):
        for reason, found in source[what].items():
            console.print(Text(f"{source['name']}: {what} {found['count']:,}: {reason}", style="yellow"))
            for example in found["examples"]:
                console.print(Text(f"    {example}", style="dim"))
    if source["cleaned"]:
        rules = ", ".join(f"{rule} {count:,}" for rule, count in source["cleaned"].items())
        console.print(Text(f"{source['name']}: cleaned {rules}", style="dim"))


def _count_table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(first, style="bold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def print_tokenizer(description: Mapping[str, Any]) -> None:
    """Bytes per token by language, kind and source, and the longest tokens."""
    console = out_console()
    table = Table(box=box.SIMPLE_HEAD, title=f"tokenizer of {description['vocab_size']:,} tokens", title_justify="left")
    table.add_column("group", style="bold")
    table.add_column("bytes per token", justify="right")
    ratios = description["bytes_per_token"]
    table.add_row("all", f"{ratios['all']:.2f}")
    for group in ("language", "kind", "source"):
        for name, ratio in ratios[group].items():
            table.add_row(f"{group} {name}", f"{ratio:.2f}")
    console.print(table)
    console.print(
        Text("longest tokens: ", style="bold").append("  ".join(description["longest_tokens"]), style="default")
    )


def print_tokens(tokens: Iterable[Mapping[str, Any]]) -> None:
    """A text as its tokens, with ids."""
    table = Table(box=box.SIMPLE_HEAD)
    for name, justify in (("token", "left"), ("id", "right"), ("bytes", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    for token in tokens:
        table.add_row(escape(token["token"]), str(token["id"]), str(token["n_bytes"]))
    out_console().print(table)


def print_explained(steps: Iterable[ExplainedStep]) -> None:
    """Each step of writing as a table of candidates, as it happens."""
    console = out_console()
    for step in steps:
        console.print(render_step(step))
        console.print()


def print_evaluation(evaluation: Evaluation, language: Language = "en", *, to_stderr: bool = False) -> None:
    (err_console() if to_stderr else out_console()).print(evaluation_table(evaluation, language=language))


def print_comparison(first: str, second: str, result: ModelComparison, language: Language = "en") -> None:
    out_console().print(comparison_table(result, first, second, language=language))


def print_samples(samples: Sequence[tuple[str, str]], language: Language) -> None:
    """Prompts in bold and how the model goes on."""
    console = err_console()
    console.print(Text(f"\n{say_in(language, 'samples')}", style="bold underline"))
    for prompt, text in samples:
        console.print(Padding(Text(prompt, style="bold").append(text, style="not bold"), (1, 2, 0, 2)))


def print_next_tokens(prompt: str, candidates: Sequence[Candidate], language: Language) -> None:
    """The likeliest next tokens with probabilities as bars."""
    table = Table(box=None, show_header=False, padding=(0, 1), title_justify="left")
    for candidate in candidates:
        bar = "█" * max(1, round(_BAR_WIDTH * candidate.probability)) if candidate.probability > 0.005 else "▏"
        table.add_row(escape(repr(candidate.text)[1:-1]), f"{candidate.probability:6.1%}", Text(bar, style="cyan"))
    console = err_console()
    console.print(
        Text(f"\n{say_in(language, 'next token')} ", style="bold underline").append(
            f"«{prompt}»", style="not underline"
        )
    )
    console.print(Padding(table, (1, 2)))


def print_tree(run: Path, commands: Sequence[str], language: Language) -> None:
    """The run folder with sizes, and what to do next."""
    tree = Tree(Text(str(run), style="bold"), guide_style="dim")
    for path in sorted(run.iterdir()):
        if path.name.startswith(".") or path.name == "lock":
            continue
        n_files = sum(1 for item in path.rglob("*") if item.is_file()) if path.is_dir() else 1
        size = sum(item.stat().st_size for item in ([path] if path.is_file() else path.rglob("*")) if item.is_file())
        files = say_in(language, "file" if n_files == 1 else "files")
        note = f"  {show_bytes(size)}" + (f", {n_files} {files}" if path.is_dir() else "")
        tree.add(Text(path.name + (os.sep if path.is_dir() else "")).append(note, style="dim"))
    console = err_console()
    console.print(Text(f"\n{say_in(language, 'made')}", style="bold underline"))
    console.print(Padding(tree, (1, 2)))
    console.print(Text(say_in(language, "try"), style="bold underline"))
    console.print(Padding(Text("\n".join(commands), style="cyan"), (1, 2)))


def show_bytes(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000 or unit == "GB":
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    raise AssertionError
