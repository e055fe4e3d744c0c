"""Prosa writes: FOLDER DTYPE STREAMS PROMPT NEW THREADS [--plain] come in, tokens per second and a text go out."""

import argparse
import json
import statistics
import time

TEXTS = 3


def parse(description: str | None) -> argparse.Namespace:
    """The words that all programs of this comparison understand."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("folder", "dtype"):
        parser.add_argument(name)
    for name in ("streams", "prompt", "new", "threads"):
        parser.add_argument(name, type=int)
    for name in ("--plain", "--compiled"):
        parser.add_argument(name, action="store_true")
    return parser.parse_args()


def make_prompts(n_streams: int, n_prompt: int) -> list[list[int]]:
    """Ids of ordinary letters, another text for each stream."""
    return [[97 + (stream * 7 + place * place) % 26 for place in range(n_prompt)] for stream in range(n_streams)]


def report(seconds: list[float], n_tokens: int, ids: list[int]) -> None:
    """The one line that the benchmark reads; the first text is the warm-up."""
    print(json.dumps({"tokens_per_second": n_tokens / statistics.median(seconds[1:]), "ids": ids}))


def main() -> None:
    import torch

    import prosa
    from prosa.generate import Sampling

    chosen = parse(__doc__)
    torch.set_num_threads(chosen.threads)
    llm = prosa.load(chosen.folder, dtype=chosen.dtype)
    if not chosen.plain:
        llm.compile("one" if chosen.streams == 1 else "many", waits=True)
    tokenizer = llm.tokenizer
    stops = dict.fromkeys((tokenizer.end_of_text_id, tokenizer.im_end_id), -100.0)
    sampling = Sampling(temperature=0, max_new_tokens=chosen.new, logit_bias=stops, when_full="stop")
    prompts = make_prompts(chosen.streams, chosen.prompt)
    seconds = []
    for _ in range(TEXTS + 1):
        started = time.perf_counter()
        completions = llm.complete(prompts, sampling)
        seconds.append(time.perf_counter() - started)
    report(seconds, chosen.streams * chosen.new, completions[0][0].ids)


if __name__ == "__main__":
    main()
