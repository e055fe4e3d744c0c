"""Where benchmark texts lie: a settings file that names `data/...` comes in, one with the real paths goes out."""

from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.measure import REPO, prosa_words, run_process
from prosa.config import read_toml


class DataMissing(Exception):
    """A data set is not there; the message says which and where it was looked for."""


def locate(data: Path, name: str) -> Path:
    """The file `name` under `data` or `data/pretrain`, plain or with .gz; raises DataMissing."""
    plain = name.removesuffix(".gz")
    candidates = [root / file for root in (data, data / "pretrain") for file in (plain, f"{plain}.gz")]
    for path in candidates:
        if path.is_file():
            return path.absolute()
    raise DataMissing(f"`{name}` is not under `{data}`: nothing measured; give its folder with --data")


def settings_with_data(config: Path, data: Path, target: Path, changes: dict[str, Any] | None = None) -> Path:
    """Writes `target`: the settings of `config` with every `data/...` source found under `data`.

    `changes` replaces values, keys dotted as on the command line. Raises DataMissing.
    """
    values = read_toml(config)
    for source in values["corpus"]["sources"]:
        if source["path"].startswith("data/"):
            source["path"] = str(locate(data, source["path"].removeprefix("data/")))
    for key, value in (changes or {}).items():
        *sections, leaf = key.split(".")
        group = values
        for section in sections:
            group = group.setdefault(section, {})
        group[leaf] = value
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(tomli_w.dumps(values), encoding="utf-8")
    return target


def make_tokens(config: str, data: Path, run: Path, changes: dict[str, Any] | None = None) -> Path:
    """Corpus, tokenizer and tokens of `configs/CONFIG` in the folder `run`; returns its settings, which lie beside it.

    Raises DataMissing.
    """
    settings = settings_with_data(REPO / "configs" / config, data, run.with_suffix(".toml"), changes)
    run_process(prosa_words("tokenizer", "train", settings, "--run", run))
    return settings
