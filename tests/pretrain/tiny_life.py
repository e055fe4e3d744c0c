"""A whole life small enough for tests: a town of a few people, a model of 20,000 parameters, some steps."""

from pathlib import Path

SETTINGS = """
name = "tiny"

[corpus]
sources = [{ path = "world:people=6,places=6,trades=4,animals=4,dishes=4,objects=4,events=2,size=60KB", name = "town" }]

[tokenizer]
vocab_size = 320

[pretrain]
steps = 12
depth = 1
d_model = 32
context_length = 32
batch_size = 8
compile = "no"
dtype = "float32"
threads = 1
save_every = 4
evaluate_every = 6
sample_every = 12

[evaluate]
cloze_items = 40
memorisation_texts = 2
memorisation_text_tokens = 60
memorisation_windows = 20
"""


def write_settings(folder: Path, **changes: str) -> Path:
    """The settings file, with `key=value` lines replaced."""
    lines = []
    for line in SETTINGS.splitlines():
        key = line.partition(" =")[0]
        lines.append(f"{key} = {changes.pop(key)}" if key in changes else line)
    assert not changes, f"no such keys: {changes}"
    path = folder / "tiny.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
