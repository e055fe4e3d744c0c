"""One settings file, one whole life: each stage in turn, and none that is already done.

Stages here: corpus -> tokenizer -> tokens -> base -> evaluation. A stage is made again when its settings or inputs
changed; a trained one is never thrown away, but moved aside when asked.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from prosa import pretrain
from prosa.config import Settings, dump_settings, read_settings
from prosa.corpus import Corpus, CorpusSettings, build_corpus, corpus_inputs, open_corpus
from prosa.errors import ConfigError
from prosa.evaluate import EvaluateSettings
from prosa.metrics import Progress
from prosa.rundir import record_stage, stage_is_current, write_durably
from prosa.tables import (
    print_choices,
)
from prosa.tokenizer import (
    Tokenizer,
    TokenizerSettings,
    TokenShards,
    build_shards,
    open_shards,
    train_tokenizer,
)
from prosa.training import FitResult, TrainingSettings, join_world, wait_for_main


class LifeSettings(Settings):
    """A whole life in one TOML file; each section belongs to the room of that name (docs/configs.md)."""

    name: str = Field(default="", max_length=100)
    lang: str = Field(default="", pattern="^(pt|en|)$")
    corpus: CorpusSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    pretrain: TrainingSettings = TrainingSettings(minutes=5)
    evaluate: EvaluateSettings = EvaluateSettings()


def begin(run: Path, life: LifeSettings) -> None:
    """Writes the resolved settings to the run folder."""
    write_durably(run / "prosa.toml", dump_settings(life).encode())


def prepare_corpus(
    run: Path, settings: CorpusSettings, *, workers: int = 0, is_shown: bool = True
) -> tuple[Corpus, bool]:
    """The run's corpus, built unless it is current; and whether it was built now."""
    folder, inputs, values = run / "corpus", corpus_inputs(settings), settings.model_dump(mode="json")
    if stage_is_current(run, "corpus", settings=values, inputs=inputs):
        return open_corpus(folder), False
    with Progress("corpus", None, unit="documents", is_shown=is_shown) as bar:
        corpus = build_corpus(
            settings, folder, workers=workers, progress=lambda source, n: bar.update(n, source=source)
        )
    record_stage(run, "corpus", settings=values, inputs=inputs, outputs={"corpus": corpus.hash})
    return corpus, True


def prepare_tokenizer(run: Path, corpus: Corpus, settings: TokenizerSettings) -> tuple[Tokenizer, bool]:
    """The run's tokenizer, trained unless it is current; and whether it was trained now."""
    folder, inputs, values = run / "tokenizer", {"corpus": corpus.hash}, settings.model_dump(mode="json")
    if stage_is_current(run, "tokenizer", settings=values, inputs=inputs):
        return Tokenizer.load(folder), False
    tokenizer = train_tokenizer(corpus, settings, folder)
    record_stage(run, "tokenizer", settings=values, inputs=inputs, outputs={"tokenizer": tokenizer.hash})
    return tokenizer, True


def prepare_tokens(
    run: Path, corpus: Corpus, tokenizer: Tokenizer, *, workers: int = 0, is_shown: bool = True
) -> tuple[TokenShards, bool]:
    """The run's token shards, written unless they are current; and whether they were written now."""
    folder, inputs = run / "tokens", {"corpus": corpus.hash, "tokenizer": tokenizer.hash}
    if stage_is_current(run, "tokens", settings={}, inputs=inputs):
        return open_shards(folder), False
    with Progress("tokens", len(corpus.parts), unit="parts", is_shown=is_shown) as bar:
        shards = build_shards(corpus, tokenizer, folder, workers=workers, progress=lambda part, n: bar.update(n))
    record_stage(run, "tokens", settings={}, inputs=inputs, outputs={"tokens": shards.hash})
    return shards, True


def set_aside(run: Path, stage: str) -> Path:
    """Renames a stage folder to `STAGE.1`, `STAGE.2` ... so that the stage starts anew and nothing is lost."""
    folder = run / stage
    if not folder.exists():
        raise ConfigError(f"`{folder}` does not exist, so there is nothing to start anew")
    number = 1
    while (run / f"{stage}.{number}").exists():
        number += 1
    return folder.rename(run / f"{stage}.{number}")


def world_sources(settings: CorpusSettings) -> Sequence[str]:
    """The built-in worlds among the sources, as their `world:` addresses."""
    return [source.path for source in settings.sources if source.path.startswith("world:")]


def resolve_life(target: str, overrides: Sequence[str], run: Path | None, **length: float) -> tuple[Path, LifeSettings]:
    """The run folder and settings that a command line means.

    `target` is a settings file, a run folder, or a source of text (path, `world:`, `python:`, `hf:`); `length` is
    minutes, tokens or steps, whichever is not 0, and replaces what the file says.
    """
    given = {name: value for name, value in length.items() if value}
    words = list(overrides)
    if given:
        lengths = {"minutes": 0.0, "tokens": 0, "steps": 0} | given
        words = [*(f"pretrain.{name}={value}" for name, value in lengths.items()), *words]
    path = Path(target)
    if path.suffix == ".toml":
        life = read_settings(LifeSettings, path, words)
        return run or Path("runs") / (life.name or path.stem), life
    if (path / "prosa.toml").is_file():
        return path, read_settings(LifeSettings, path / "prosa.toml", words)
    if not path.exists() and ":" not in target:
        raise ConfigError(
            f"`{target}` is no settings file, run folder or text",
            hint="give for example `configs/quickstart.toml`, a folder of your own texts, or `world:`",
        )
    name = path.resolve().stem if path.exists() else target.partition(":")[0]
    settings = {"name": name, "corpus": {"sources": [{"path": target}]}}
    life = read_settings(LifeSettings, None, words, values=settings)
    return run or Path("runs") / name, life


def pretrain_base(
    run: Path, life: LifeSettings, *, allow_drift: Sequence[str] = (), is_shown: bool = True
) -> FitResult:
    """Everything up to a trained base model in `run/base`."""
    write_durably(run / "prosa.toml", dump_settings(life).encode())
    corpus, _ = prepare_corpus(run, life.corpus, is_shown=is_shown)
    tokenizer, _ = prepare_tokenizer(run, corpus, life.tokenizer)
    shards, _ = prepare_tokens(run, corpus, tokenizer, is_shown=is_shown)
    return pretrain.main(
        run / "base",
        life.pretrain,
        shards,
        tokenizer,
        allow_drift=allow_drift,
        announce=print_choices if is_shown else lambda choices, device: None,
        is_shown=is_shown,
    )
