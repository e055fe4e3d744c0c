"""Tokens written a second, one text or 32 together, at four sizes, beside transformers and llama.cpp.

All programs read the same random weights and the same prompts, choose the likeliest token, and write equally many.
They are started in turn, each in a process of its own; the limit is what memory can be read at.
"""

import itertools
import json
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks.limits import measure_bandwidth
from benchmarks.measure import BenchmarkFailed, make_parser, read_words, run_process, say, spread, write_result
from benchmarks.shapes import SHAPES, settings_of

_N_PROMPT, _N_NEW, _CONTEXT_LENGTH, _N_STREAMS = 32, 128, 256, 32
# Program and its number format, by the module that runs it; `llama` where llama-cpp-python is installed.
WAYS = {
    "prosa float32": ("ours", "float32"),
    "prosa bfloat16": ("ours", "bfloat16"),
    "prosa float32, not compiled": ("ours", "float32", "--plain"),
    "transformers float32": ("transformers", "float32"),
    "transformers bfloat16": ("transformers", "bfloat16"),
    "transformers bfloat16, static cache, compiled": ("transformers", "bfloat16", "--compiled"),
    "llama.cpp bfloat16": ("llama", "bfloat16"),
    "llama.cpp float16": ("llama", "float16"),
}


def make_model(name: str, folder: Path) -> None:
    """Random weights of that size, with a tokenizer of as many tokens, as a Hugging Face folder."""
    import torch

    from prosa.model import Transformer, init_weights, save_model
    from prosa.tokenizer import Tokenizer

    settings = settings_of(name, _CONTEXT_LENGTH)
    model = Transformer(settings)
    init_weights(model, 0)
    torch.manual_seed(0)
    with torch.no_grad():
        # As initialised the layers say nothing, and each token would be followed by itself.
        for parameter in model.model.layers.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
    save_model(folder, model, Tokenizer(make_merges(settings.vocab_size - 260)))


def make_merges(n: int) -> list[tuple[int, int]]:
    """A small and a capital letter, then any two of these pairs."""
    pairs = [(small, capital) for small in range(97, 123) for capital in range(65, 91)]
    ids = range(256, 256 + len(pairs))
    return [*pairs, *itertools.islice(itertools.product(ids, ids), max(0, n - len(pairs)))][:n]


def measure(way: str, folder: Path, n_streams: int, chosen: Namespace) -> dict[str, Any]:
    """Tokens per second in one process: the median of several texts, the start and the first text not counted."""
    program, dtype, *more = WAYS[way]
    words = [
        chosen.llama_python if program == "llama" else sys.executable,
        "-m",
        f"benchmarks.decoding_{program}",
        *map(str, (folder, dtype, n_streams, _N_PROMPT, 8 if chosen.smoke else _N_NEW, chosen.threads)),
        *more,
    ]
    found: dict[str, Any] = json.loads(run_process(words).stdout.strip().splitlines()[-1])
    return found


def measure_size(name: str, n_streams: int, chosen: Namespace) -> dict[str, Any]:
    """All ways at one size, in turn; a way that cannot be measured says why."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        make_model(name, folder)
        rates: dict[str, list[float]] = {}
        texts: dict[str, list[int]] = {}
        problems: dict[str, str] = {}
        for _ in range(1 if chosen.smoke else chosen.seeds):
            for way in WAYS:
                if way in problems or (WAYS[way][0] == "llama" and not chosen.llama_python):
                    continue
                try:
                    found = measure(way, folder, n_streams, chosen)
                except BenchmarkFailed as error:
                    problems[way] = str(error).strip().splitlines()[-1]
                    say(f"{name}, {n_streams}: {way}: {problems[way]}")
                    continue
                rates.setdefault(way, []).append(found["tokens_per_second"])
                texts[way] = found["ids"]
                say(f"{name}, {n_streams}: {way} {found['tokens_per_second']:,.0f} tokens/s")
        reference = texts["transformers float32"]
        return {
            "weight_bytes_bfloat16": sum(p.stat().st_size for p in folder.glob("*.safetensors")) // 2,
            "rates": {way: spread(values) for way, values in rates.items()},
            "same_tokens": {way: _count_same(ids, reference) for way, ids in texts.items()},
            "problems": problems,
        }


def _count_same(ids: list[int], reference: list[int]) -> int:
    """Tokens of the first text until it differs."""
    return next((n for n, (a, b) in enumerate(zip(ids, reference, strict=True)) if a != b), len(reference))


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("decoding", __doc__)
    parser.add_argument("--size", choices=tuple(SHAPES), help="only this one")
    parser.add_argument("--threads", type=int, default=2, help="threads of all programs (default: 2)")
    parser.add_argument("--llama-python", default="", help="a Python that has llama-cpp-python and gguf")
    chosen = read_words(parser, argv)
    sizes = [chosen.size] if chosen.size else ["1M"] if chosen.smoke else list(SHAPES)
    bandwidth = measure_bandwidth(0.01 if chosen.smoke else 1.0, 2**23 if chosen.smoke else 2**29)
    found: dict[str, Any] = {}
    for name in sizes:
        # Many texts with the small models only, as the peers would take an hour with the others.
        for n_streams in (1, _N_STREAMS) if name in ("1M", "14M") else (1,):
            found.setdefault(name, {})[str(n_streams)] = measure_size(name, n_streams, chosen)
        # A size at a time, as the whole takes long.
        write_result(
            "decoding", {"threads": chosen.threads, "n_new": _N_NEW, "bandwidth": bandwidth, "sizes": found}, chosen
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
