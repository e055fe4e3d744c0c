"""Bits per byte of real books after some minutes of training, beside a tuned transformers peer.

Both read the same tokens on the same cores, and one judge measures both on the whole validation split. Prosa is
`prosa run` with `pretrain.minutes` and nothing else chosen; the peer trains the same kind of model with AdamW and
autocast, and `--tune` looks for its size, learning rate and batch, each by a run of the same minutes. Where such a
search would take hours, several setups of the peer are measured and the best one counts. Neither finds anything in the
compiler's cache.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.data_paths import DataMissing, make_tokens
from benchmarks.measure import make_parser, prosa_words, read_words, run_process, say, spread, write_result
from benchmarks.real_input import SMOKE


@dataclass(frozen=True, slots=True)
class Peer:
    """What can be chosen for the peer."""

    n_layer: int = 4
    d_model: int = 256
    context_length: int = 256
    batch_size: int = 16
    learning_rate: float = 3e-3
    compiled: bool = False

    def words(self) -> list[str]:
        """As its command line has them."""
        named = {name: value for name, value in asdict(self).items() if name != "compiled"}
        flags = ["--compiled"] if self.compiled else []
        return [word for name, value in named.items() for word in (f"--{name.replace('_', '-')}", str(value))] + flags


# What was found for each number of minutes (docs/log.md says how); for thirty, what was best and next for ten.
_SMALL = Peer(n_layer=2, d_model=128, batch_size=8, learning_rate=6e-3)
PEERS: dict[float, tuple[Peer, ...]] = {
    3.0: (_SMALL,),
    10.0: (_SMALL,),
    30.0: (_SMALL, replace(_SMALL, n_layer=3, d_model=192)),
}
# One after the other, from what was best for fewer minutes; each is kept if it is better than the best before it.
_SEARCH: tuple[dict[str, Any], ...] = (
    {"learning_rate": 6e-3},
    {"n_layer": 3, "d_model": 192},
    {"n_layer": 2, "d_model": 128},
    {"n_layer": 4, "d_model": 256},
    {"learning_rate": 3e-3},
    {"batch_size": 8},
    {"compiled": True},
)


def judge(model: Path, run: Path) -> float:
    """Bits per byte of a model folder on the validation split of a run."""
    from prosa.evaluate import bits_per_byte
    from prosa.model import load_model
    from prosa.tokenizer import open_shards

    return bits_per_byte(load_model(model), open_shards(run / "tokens", verify=False)).total.bits_per_byte


def run_prosa(settings: Path, run: Path, changes: Sequence[str]) -> dict[str, Any]:
    """The stage `base` of a run that has tokens, and how long it took."""
    from benchmarks.run_facts import read_run

    for folder in (run / "base", run / "evaluation"):
        shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as cache:
        words = prosa_words("run", settings, *changes, "--run", run, "--until", "base")
        run_process(words, environment={"TORCHINDUCTOR_CACHE_DIR": cache})
    facts, base = read_run(run), run / "base"
    # The stage takes its lock first and writes its model last; evaluation comes after it.
    seconds = (base / "model" / "config.json").stat().st_mtime - (base / "lock").stat().st_mtime
    said = {"parameters": facts["model"]["parameters"], "tokens": facts["training"]["tokens"], "seconds": seconds}
    return said | {"bits_per_byte": judge(base / "model", run)}


def run_peer(run: Path, peer: Peer, minutes: float, seed: int) -> dict[str, Any]:
    """The peer in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        words = [sys.executable, "-m", "benchmarks.quality_peer", str(run), name, "--seed", str(seed)]
        cache = {"TORCHINDUCTOR_CACHE_DIR": f"{name}/cache"}
        done = run_process([*words, "--minutes", str(minutes), *peer.words()], environment=cache)
        said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return said | {"bits_per_byte": judge(Path(name), run)}


def _best_for_less(minutes: float) -> Peer:
    known = [one for one in PEERS if one < minutes]
    return PEERS[max(known)][0] if known else Peer()


def tune(run: Path, minutes: float, start: Peer, search: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every setup that was tried, with what it reached; the best is kept at each turn."""
    tried: list[dict[str, Any]] = []
    best, best_bits = start, float("inf")
    for change in ({}, *search):
        peer = replace(best, **change)
        if asdict(peer) in [one["peer"] for one in tried]:
            continue
        said = run_peer(run, peer, minutes, seed=0)
        say(f"{minutes:g} minutes, {peer}: {said['bits_per_byte']:.4f} ({said['tokens']:,} tokens)")
        tried.append({"minutes": minutes, "peer": asdict(peer), **said})
        if said["bits_per_byte"] < best_bits:
            best, best_bits = peer, said["bits_per_byte"]
    return tried


def compare(settings: Path, run: Path, minutes: float, seeds: int) -> dict[str, Any]:
    """Prosa and every setup of the peer in turns; `peer` is the best of them, `passed_over` the others."""
    ours: list[dict[str, Any]] = []
    peers = PEERS.get(minutes, (Peer(),))
    theirs: list[list[dict[str, Any]]] = [[] for _ in peers]
    for seed in range(seeds):
        ours.append(run_prosa(settings, run, (f"pretrain.minutes={minutes}", f"pretrain.seed={seed}")))
        say(f"{minutes:g} minutes, seed {seed}: {ours[-1]}")
        for peer, found in zip(peers, theirs, strict=True):
            found.append(run_peer(run, peer, minutes, seed))
            say(f"{minutes:g} minutes, seed {seed}: {peer}, {found[-1]}")
    bits = [spread([one["bits_per_byte"] for one in found]) for found in (ours, *theirs)]
    tried = [
        {"peer": asdict(peer), "runs": found, "bits_per_byte": reached}
        for peer, found, reached in zip(peers, theirs, bits[1:], strict=True)
    ]
    best, *passed_over = sorted(tried, key=lambda one: one["bits_per_byte"].median)
    return {
        "minutes": minutes,
        "peer": best["peer"],
        "passed_over": passed_over,
        "runs": {"prosa": ours, "peer": best["runs"]},
        "bits_per_byte": {"prosa": bits[0], "peer": best["bits_per_byte"]},
        "fewer": 1 - bits[0].median / best["bits_per_byte"].median,
    }


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("quality", __doc__, needs_data=True)
    parser.set_defaults(seeds=1)
    parser.add_argument("--minutes", type=float, action="append", help="only these; may repeat (default: 3, 10, 30)")
    parser.add_argument("--tune", action="store_true", help="look for the peer's best setup instead")
    chosen = read_words(parser, argv)
    all_minutes = [0.1] if chosen.smoke else chosen.minutes or [3.0, 10.0, 30.0]
    with tempfile.TemporaryDirectory() as name:
        run, changes = Path(name) / "run", SMOKE | {"pretrain.steps": 0} if chosen.smoke else {}
        started = time.perf_counter()
        try:
            settings = make_tokens("livros.toml", chosen.data, run, changes)
        except DataMissing as error:
            say(str(error))
            return 0
        say(f"tokens in {time.perf_counter() - started:.0f} s")
        for minutes in all_minutes:
            if chosen.tune:
                tried = tune(run, minutes, _best_for_less(minutes), _SEARCH[:1] if chosen.smoke else _SEARCH)
                write_result(f"quality_{minutes:g}_tuning", {"tried": tried}, chosen)
            else:
                write_result(f"quality_{minutes:g}", compare(settings, run, minutes, chosen.seeds), chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
