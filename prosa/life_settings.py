"""A whole life in one settings file: a section for each room, and what a command line means by TARGET.

A settings file, a run folder or a source of text comes in; the run folder and the settings of a life go out.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from prosa.config import Settings, read_settings
from prosa.corpus import CorpusSettings, world
from prosa.errors import ConfigError
from prosa.evaluate import EvaluateSettings
from prosa.preferences import SampleSettings
from prosa.reward import RewardSettings
from prosa.rl import DirectSettings, RlSettings
from prosa.sft import SftSettings
from prosa.tokenizer import TokenizerSettings
from prosa.training import TrainingSettings


class LifeSettings(Settings):
    """A whole life in one TOML file; each section belongs to the room of that name (docs/configs.md)."""

    name: str = Field(default="", max_length=100)
    lang: str = Field(default="", pattern="^(pt|en|)$")
    corpus: CorpusSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    pretrain: TrainingSettings = TrainingSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    sft: SftSettings = SftSettings()
    sample: SampleSettings = SampleSettings()
    reward: RewardSettings = RewardSettings()
    rl: RlSettings = RlSettings()
    direct: DirectSettings = DirectSettings()


def resolve_life(target: str, overrides: Sequence[str], run: Path | None, **length: float) -> tuple[Path, LifeSettings]:
    """The run folder and settings that a command line means.

    `target` is a settings file, a run folder, or a source of text (path, `world:`, `python:`, `hf:`); `length` is
    minutes, tokens or steps, whichever is not 0, and replaces what the file says.
    """
    words = list(overrides)
    if any(length.values()):
        words = [*(f"pretrain.{name}={value}" for name, value in length.items()), *words]
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
    values = {"name": name, "corpus": {"sources": [{"path": target}]}}
    return run or Path("runs") / name, read_settings(LifeSettings, None, words, values=values)


def read_life(run: Path) -> LifeSettings:
    """The settings a run was made with; ConfigError if the folder is no run."""
    path = run / "prosa.toml"
    if not path.is_file():
        raise ConfigError(f"`{run}` is no run folder: it has no prosa.toml", hint="`prosa run` makes one")
    return read_settings(LifeSettings, path)


def town_of(life: LifeSettings) -> str:
    """The address of the first built-in world among the sources of text; "" if there is none."""
    return next((source.path for source in life.corpus.sources if source.path.startswith("world:")), "")


def world_of(life: LifeSettings) -> world.World | None:
    """That town, whose facts can be asked for."""
    town = town_of(life)
    return world.build_world(world.parse_world(town)) if town else None
