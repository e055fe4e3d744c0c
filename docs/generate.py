"""The parts of the pages that follow from the code: verbs, exit codes, settings, names at a room's door.

They stand between `<!-- generated: settings -->` and `<!-- end of generated -->`, in any page.

`python -m docs.generate` writes them anew; tests/test_docs.py fails while they are out of date.
"""

import ast
import importlib
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from prosa import errors
from prosa.cli import app
from prosa.config import Settings
from prosa.life_settings import LifeSettings

DOCS = Path(__file__).parent

# What a setting means, where its class does not say so itself by a string under the field.
MEANINGS: dict[str, dict[str, str]] = {
    "": {
        "name": "The run is kept in `runs/NAME`; empty: the name of the settings file, folder or source.",
        "lang": "Language of what is said at the terminal; empty: the system's.",
    },
    "corpus": {
        "sources": "Where text comes from: one table each, see below.",
        "seed": "Chooses the documents that are held out.",
        "validation_fraction": "Share of the text held out for validation.",
    },
    "corpus.sources": {
        "kind": "What its texts are; empty: guessed from the format.",
        "licence": "Kept with every document and shown in reports.",
    },
    "tokenizer": {
        "vocab_size": "All tokens, the 256 bytes and 4 control tokens included; 0: chosen from the corpus.",
        "sample_bytes": "Text that merges are learned from, drawn by the weights of the mixture.",
        "seed": "Draws the sample.",
    },
    "pretrain": {
        "minutes": "Train for this long on this machine.",
        "tokens": "Train on this many tokens.",
        "steps": "Train for this many steps. Exactly one of `minutes`, `tokens` and `steps` is given.",
        "depth": "Layers; the one dial from which width, heads and `d_ff` follow.",
        "d_model": "Width of the residual stream; 0: 64 a layer.",
        "d_head": "Width of one attention head.",
        "n_head": "Query heads.",
        "n_kv_head": "Key and value heads; fewer than `n_head` is grouped-query attention; 0: as many.",
        "d_ff": "Width inside the feed-forward part; 0: 8/3 of `d_model`, rounded up.",
        "context_length": "Tokens the model sees at once.",
        "ties_embeddings": "One matrix serves as embedding and as output head.",
        "dropout": "Share of activations dropped; -1: from 0.1 on if the text is read ten times or more, else 0.",
        "batch_size": "Sequences a step, over all processes.",
        "micro_batch": "Sequences computed at once; a step adds up as many as it needs.",
        "learning_rate": "Peak rate of AdamW (embeddings, head, norms).",
        "matrix_learning_rate": "Peak rate of Muon (matrices inside the blocks).",
        "matrix_momentum": "Memory of Muon; 0: 0.9 below 500 steps, 0.95 from there on.",
        "weight_decay": "Decay of the block matrices; -1: 150 over the steps, at most 0.3.",
        "gradient_clip": "Longest gradient, as an L2 norm over the whole model; 0: never clipped.",
        "warmup_fraction": "Share of the steps in which the rate rises.",
        "cooldown_fraction": "Share of the steps in which it falls.",
        "final_fraction": "Rate of the last step, as a share of the peak.",
        "compile": "Whether the step is compiled; auto: where that pays.",
        "device": "Where to compute; auto: a CUDA GPU if there is one, else the CPU.",
        "dtype": "Number format of activations; auto: measured, see docs/training.md.",
        "threads": "CPU threads; 0: torch's choice.",
        "evaluate_every": "Steps between looks at the validation split; 0: about a minute.",
        "sample_every": "Steps between written samples; 0: about a minute.",
        "save_every": "Steps between checkpoints; 0: about two minutes.",
        "keep_checkpoints": "How many checkpoints stay.",
        "trackers": "`tensorboard`, `wandb`, or both, beside metrics.jsonl.",
        "seed": "Initial weights, order of data, dropout and samples.",
    },
    "evaluate": {
        "context_length": "Window in which documents are read; 0: the model's own.",
        "batch_tokens": "Tokens computed at once.",
        "compares_xz": "Also measure `xz -9e` on the same documents.",
        "cloze_items": "Sentences about the built-in world to complete; 0: none.",
        "memorisation_texts": "Texts the model writes for the memorisation meter; 0: no meter.",
        "memorisation_text_tokens": "Length of each of them.",
        "memorisation_windows": "Windows drawn from them.",
        "memorisation_window_tokens": "Length of a window that is looked up in the training text.",
        "temperature": "Temperature those texts are written with.",
        "seed": "Draws sentences, texts, windows and bootstrap samples.",
    },
}

MEANINGS["reward"] = MEANINGS["pretrain"] | {
    "n_members": "Reward heads on one trunk; their disagreement says how sure the model is.",
    "epochs": "Read all rankings this often; more than once overfits.",
    "steps": "Train for this many steps instead.",
    "expands_pairs": "Each pair a row of its own, shuffled, as other programs do; kept for comparison.",
    "validation_fraction": "Share of the prompts held out.",
    "batch_size": "Rankings a step, over all processes; 0: chosen from their number.",
    "micro_batch": "Rankings computed at once.",
    "learning_rate": "Peak rate of AdamW; 0: chosen from the size of the trunk.",
    "evaluate_every": "Steps between looks at the held-out rankings; 0: eight times in all.",
    "sample_every": "Steps between shown rankings; 0: at the end.",
    "save_every": "Steps between checkpoints; 0: four times in all.",
    "seed": "Heads, order of rankings and what each head learns from.",
}
MEANINGS["reward.loss"] = {
    "kind": "Pairs of a ranking, or the ranking as a whole.",
    "ties": "What the pairwise loss makes of equal answers.",
    "tie_parameter": "nu of Davidson, theta of Rao-Kupper; 0: learned.",
    "margin": "Difference of scores that a pair must at least have.",
    "label_smoothing": "Share of pairs taken to be the wrong way round.",
    "centering": "Weight of the squared sum of a pair's scores, which keeps them around 0.",
}
MEANINGS["sample"] = {
    "n_prompts": "At most so many, the first ones.",
    "temperature": "Temperature the answers are drawn at.",
    "top_p": "Draw among the likeliest tokens that together have this probability.",
}

# What an option means, where the command line does not say so itself.
OPTIONS = {
    "--workers": "Processes that read and clean; 0: one a core. The result has the same bytes for any number.",
    "--max-new-tokens": "Write at most this many tokens.",
    "--temperature": "0 always takes the likeliest token; higher is bolder.",
    "--top-k": "Choose among this many likeliest tokens; 0: all.",
    "--top-p": "Choose among the likeliest tokens that together have this probability.",
    "--min-p": "Leave out tokens less likely than this share of the likeliest.",
    "--repetition-penalty": "Above 1 discourages tokens that already stand in the prompt or the text.",
    "--frequency-penalty": "Discourages a token by this much for each time it was written.",
    "--presence-penalty": "Discourages a token by this much once it was written.",
    "--seed": "The same seed writes the same text.",
}


def current(page: Path) -> str:
    """The text of `page` with every generated part written anew."""
    text = page.read_text(encoding="utf-8")
    for name, write in PARTS.items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end of generated -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            after = rest.partition(end)[2]
            text = f"{before}{begin}\n{write(page)}\n{end}{after}"
    return text


# Command line


def verbs(page: Path) -> str:
    return "\n".join(_verb_page(words, command) for words, command in commands())


def commands() -> Iterator[tuple[str, Any]]:
    """Every verb as its words and its command, in the order in which a model lives."""
    first = {"run": 0, "corpus": 1, "tokenizer": 2}
    found = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in sorted(found.items(), key=lambda item: first.get(item[0], 3)):
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        else:
            yield from ((f"{name} {inner_name}", inner_command) for inner_name, inner_command in inner.items())


def _verb_page(words: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    usage = " ".join(
        f"{param.name.upper()}" if param.required else f"[{param.name.upper()}{'...' if param.nargs == -1 else ''}]"
        for param in arguments
    )
    lines = [f"### prosa {words}\n", f"`prosa {words} {usage}`".replace(" `", "`") + "\n", f"{command.help}\n"]
    if command.params:
        lines += ["| argument or option | default | meaning |", "|---|---|---|"]
        lines += [_option_row(param) for param in command.params]
    return "\n".join(lines) + "\n"


def _option_row(param: Any) -> str:
    if param.param_type_name == "argument":
        return _row(f"`{param.name.upper()}`", "required" if param.required else "", param.help)
    spelling = ", ".join(f"`{word}`" for word in sorted(param.opts, key=len))
    default = param.default if isinstance(param.default, int | float) and param.default is not False else None
    return _row(
        spelling, "" if default is None else f"`{default}`", param.help or _meaning(OPTIONS, param.opts[0], "OPTIONS")
    )


def exit_codes(page: Path) -> str:
    rows = {0: ["finished, or stopped by a signal after saving"], 130: ["interrupted while nothing had to be saved"]}
    meanings = dict(_error_meanings())
    for error in errors.ProsaError.__subclasses__():
        rows.setdefault(error.exit_code, []).append(f"`{error.__name__}`: {meanings[error.__name__]}")
    rows[1] = ["a bug of ours, with a traceback: please report it"]
    return (
        "\n".join(["| code | meaning |", "|---|---|", *(_row(str(c), "; ".join(rows[c])) for c in sorted(rows))]) + "\n"
    )


def _error_meanings() -> Iterator[tuple[str, str]]:
    for line in (errors.__doc__ or "").splitlines():
        words = line.split(maxsplit=2)
        if len(words) == 3 and words[1].startswith("("):
            yield words[0], words[2]


# Settings


def settings(page: Path) -> str:
    schema = LifeSettings.model_json_schema()
    return "\n".join(_section_pages(LifeSettings, schema, schema["$defs"], ""))


def _section_pages(cls: type[Settings], schema: dict[str, Any], defs: dict[str, Any], path: str) -> Iterator[str]:
    """The table of one section, then those of the sections inside it."""
    said = dict(_attribute_docstrings(cls))
    rows, inner = [], []
    for name, field in schema["properties"].items():
        group = field.get("items", field).get("$ref", "").removeprefix("#/$defs/")
        if group and "items" not in field:
            inner.append((name, group))
            continue
        if group:
            inner.append((name, group))
        default = (
            "required"
            if name in schema.get("required", ())
            else _show_value(cls.model_fields[name].get_default(call_default_factory=True))
        )
        meaning = said.get(name) or _meaning(MEANINGS.get(path, {}), name, f"MEANINGS[{path!r}]")
        rows.append(_row(f"`{name}`", _show_type(field), default, meaning))
    title = "Of the whole life" if not path else f"`[{path}]`" if path != "corpus.sources" else "`[[corpus.sources]]`"
    yield "\n".join([f"### {title}\n", "| setting | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"
    for name, group in inner:
        inner_cls = next(c for c in _all_settings(Settings) if c.__name__ == group)
        yield from _section_pages(inner_cls, defs[group], defs, f"{path}.{name}".lstrip("."))


def _all_settings(cls: type[Settings]) -> Iterator[type[Settings]]:
    for child in cls.__subclasses__():
        yield child
        yield from _all_settings(child)


def _attribute_docstrings(cls: type[Settings]) -> Iterator[tuple[str, str]]:
    """(field, text) for every string that stands right under a field in the source of `cls`."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield ast.unparse(field.target), inspect.cleandoc(str(text.value.value)).replace("\n", " ")


def _show_type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{_plain(value)}`" for value in field["enum"])
    if "pattern" in field and field["pattern"].startswith("^("):
        return " or ".join(f"`{_plain(word)}`" for word in field["pattern"][2:-2].split("|"))
    if "anyOf" in field:
        return " or ".join(_show_type(option) for option in field["anyOf"])
    if field["type"] == "array":
        return f"list of {_show_type(field['items'])}" if "type" in field.get("items", {}) else "list of tables"
    names = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "object": "table"}
    bounds = [
        f"{sign} {field[key]:,}"
        for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
        if key in field
    ]
    bounds += [f"at most {field['maxLength']} characters"] if "maxLength" in field else []
    return ", ".join([names[field["type"]], *bounds])


def _show_value(value: Any) -> str:
    if value is None:
        return "none"
    text = str(value).lower() if isinstance(value, bool) else _plain(value) if isinstance(value, str) else str(value)
    return f"`{'[]' if text == '()' else text}`"


def _plain(value: Any) -> str:
    return value if value != "" else '""'


def _meaning(table: dict[str, str], name: str, title: str) -> str:
    if name not in table:
        raise LookupError(f"nothing says what `{name}` means: say it where it is defined, or in {title} of {__file__}")
    return table[name]


def _row(*cells: str) -> str:
    """A line of a table; a `<word` outside code would be read as HTML."""
    shown = (
        re.sub(r"(`[^`]*`)|<(?=[^ =])", lambda found: found[1] or "&lt;", " ".join(cell.split())) for cell in cells
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in shown) + " |"


# Rooms


def names(page: Path) -> str:
    """What the door of the room of this page gives, each with the first sentence of its docstring."""
    room = importlib.import_module("prosa.corpus.world" if page.stem == "world" else f"prosa.{page.stem}")
    rows = []
    for name in room.__all__:
        thing = getattr(room, name)
        if typing.get_origin(thing) is not None:
            said = f"The type `{re.sub(r'[a-z]+[.]', '', str(thing))}`"
        else:
            said = inspect.getdoc(thing) if callable(thing) else f"{', '.join(map(str, thing))}."
        rows.append(_row(f"`{name}`", re.split(r"(?<=[\w)`]\.)\s+(?=[A-Z])|\n\n", said or "")[0].rstrip(".")))
    return "\n".join([f"| in `{room.__name__}` | what it is |", "|---|---|", *rows]) + "\n"


PARTS: dict[str, Callable[[Path], str]] = {
    "verbs": verbs,
    "exit codes": exit_codes,
    "settings": settings,
    "names": names,
}


if __name__ == "__main__":
    for page in sorted(DOCS.glob("*.md")):
        text = current(page)
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote {page}")
