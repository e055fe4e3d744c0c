"""How fast the built-in town writes, and how fast sources become a corpus, on one core and on all."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import make_parser, read_words, say, spread, write_result
from prosa.corpus import CorpusSettings, SourceSettings, build_corpus, world
from prosa.corpus.workers import count_cores


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("world", __doc__)
    chosen = read_words(parser, argv)
    n_bytes, repeats = (100_000, 1) if chosen.smoke else (16_000_000, chosen.seeds)
    result: dict[str, Any] = {"n_bytes": n_bytes, "cores": count_cores(), "writing": measure_writing(n_bytes, repeats)}
    with tempfile.TemporaryDirectory() as name:
        result["corpus"] = measure_corpus(Path(name), n_bytes, repeats)
    write_result("world", result, chosen)
    return 0


def measure_writing(n_bytes: int, repeats: int) -> dict[str, Any]:
    """MB/s of text from a fresh town in this process, the building of its knowledge base included."""
    rates, documents, forms = [], 0, set()
    for seed in range(repeats):
        started = time.perf_counter()
        town = world.build_world(world.WorldSettings(seed=seed, size_bytes=n_bytes))
        texts = [document.text for document in town.documents()]
        rates.append(sum(len(text.encode()) for text in texts) / 1e6 / (time.perf_counter() - started))
        if seed == 0:
            documents = len(texts)
            forms = {word.lower() for text in texts for word in text.split() if word.isalpha()}
        say(f"town {seed}: {rates[-1]:.2f} MB/s")
    return {"mb_per_second": spread(rates), "documents": documents, "word_forms": len(forms)}


def measure_corpus(folder: Path, n_bytes: int, repeats: int) -> dict[str, Any]:
    """MB/s of `build_corpus`: writing the town as well, and reading the same text from one jsonl file."""
    town = world.build_world(world.WorldSettings(size_bytes=n_bytes))
    stored = folder / "town.jsonl"
    lines = (json.dumps({"text": document.text}, ensure_ascii=False) for document in town.documents())
    stored.write_text("\n".join(lines), encoding="utf-8")
    rates: dict[str, Any] = {}
    for name, path in {"from the town": f"world:size={n_bytes}", "from a jsonl file": str(stored)}.items():
        settings = CorpusSettings(sources=(SourceSettings(path=path, name="town"),))
        for workers in sorted({1, count_cores()}):
            seconds = []
            for number in range(repeats):
                started = time.perf_counter()
                build_corpus(settings, folder / f"{len(rates)}-{number}", workers=workers)
                seconds.append(time.perf_counter() - started)
            rates[f"{name}, {workers} process{'es' if workers > 1 else ''}"] = spread(
                [n_bytes / 1e6 / s for s in seconds]
            )
    return rates


if __name__ == "__main__":
    sys.exit(main())
