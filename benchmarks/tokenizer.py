"""How fast the tokenizer is trained and encodes, beside `tokenizers` and tiktoken with the very same vocabulary.

The text is the built-in town and the running Python's library, so it needs no data; one core unless said otherwise.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Spread, make_parser, read_words, run_process, say, spread, write_result
from prosa.corpus import CorpusSettings, SourceSettings, build_corpus
from prosa.tokenizer import Tokenizer, TokenizerSettings, describe_tokenizer, train_tokenizer

_VOCAB_SIZE = 8192
# What tells `tokenizers` so.
_CORES = {"one core": "false", "all cores": "true"}


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("tokenizer", __doc__)
    chosen = read_words(parser, argv)
    # The threads of `tokenizers` are counted once, when it first needs them.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    n_bytes, repeats = (300_000, 1) if chosen.smoke else (10_000_000, chosen.seeds)
    with tempfile.TemporaryDirectory() as name:
        result = measure(Path(name), n_bytes, repeats)
    write_result("tokenizer", result, chosen)
    return 0


def measure(folder: Path, n_bytes: int, repeats: int) -> dict[str, Any]:
    """Training, encoding by each library, decoding, and bytes per token."""
    sources = (
        SourceSettings(path=f"world:size={n_bytes}", name="town"),
        SourceSettings(path="python:", name="python", max_bytes=n_bytes),
    )
    corpus = build_corpus(CorpusSettings(sources=sources), folder / "corpus", workers=1)
    tokenizer = train_tokenizer(corpus, TokenizerSettings(vocab_size=_VOCAB_SIZE), folder / "tokenizer")
    texts = [document.text for document in corpus.documents("train")]
    size = sum(len(text.encode()) for text in texts)
    training = measure_children(
        [(name, cores) for name in ("prosa", "tokenizers") for cores in _CORES], folder, repeats
    )
    encoders = make_encoders(tokenizer, folder / "tokenizer")
    expected = encoders["prosa"](texts)
    rates = {}
    for name, encode in encoders.items():
        assert encode(texts) == expected, f"{name} gives other ids"
        rates[name] = measure_rate(lambda encode=encode: encode(texts), size, repeats)  # type: ignore[misc]
        say(f"{name}: {rates[name].median:.1f} MB/s")
    encoding = measure_children([("encode", "all cores")], folder, repeats)
    rates["tokenizers, all cores"] = spread([size / 1e6 / one for one in encoding["encode, all cores"].values])
    return {
        "n_bytes": size,
        "vocab_size": tokenizer.vocab_size,
        "training_seconds": training,
        "encoding_mb_per_second": rates,
        "decoding_mb_per_second": measure_rate(lambda: [tokenizer.decode(ids) for ids in expected], size, repeats),
        "bytes_per_token": describe_tokenizer(tokenizer, corpus)["bytes_per_token"],
    }


def measure_children(children: Sequence[tuple[str, str]], folder: Path, repeats: int) -> dict[str, Spread]:
    """Seconds of pieces of work of `benchmarks.tokenizer_peer`, each with a number of cores, in turns."""
    seconds: dict[str, list[float]] = {}
    files = [str(folder / "corpus"), str(folder / "tokenizer" / "tokenizer.json")]
    for _ in range(repeats):
        for work, cores in children:
            words = [sys.executable, "-m", "benchmarks.tokenizer_peer", work, *files]
            done = run_process(words, environment={"TOKENIZERS_PARALLELISM": _CORES[cores]})
            name, found = f"{work}, {cores}", float(done.stdout.split()[-1])
            seconds.setdefault(name, []).append(found)
            say(f"{name}: {found:.2f} s")
    return {name: spread(values) for name, values in seconds.items()}


def make_encoders(tokenizer: Tokenizer, folder: Path) -> dict[str, Callable[[Sequence[str]], list[list[int]]]]:
    """Functions from texts to ids: ours, and both libraries on the tokenizer.json that ours wrote."""
    import tiktoken
    import tokenizers

    path = folder / "tokenizer.json"
    theirs = tokenizers.Tokenizer.from_file(str(path))
    description = json.loads(path.read_text(encoding="utf-8"))
    pattern = next(
        step["pattern"]["Regex"] for step in description["pre_tokenizer"]["pretokenizers"] if step["type"] == "Split"
    )
    ranks = {tokenizer.token_bytes(id): id for id in range(tokenizer.vocab_size) if id not in tokenizer.control_ids}
    ranked = tiktoken.Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return {
        "prosa": lambda texts: [tokenizer.encode(text) for text in texts],
        "tiktoken": lambda texts: [ranked.encode_ordinary(text) for text in texts],
        "tokenizers": lambda texts: [theirs.encode(text, add_special_tokens=False).ids for text in texts],
        "prosa, all cores": tokenizer.encode_batch,
        "tiktoken, all cores": lambda texts: ranked.encode_ordinary_batch(list(texts), num_threads=os.cpu_count() or 1),
    }


def measure_rate(work: Callable[[], Any], n_bytes: int, repeats: int) -> Spread:
    """MB/s of `work` on `n_bytes`, several times."""
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        rates.append(n_bytes / 1e6 / (time.perf_counter() - started))
    return spread(rates)


if __name__ == "__main__":
    sys.exit(main())
