"""One settings file, one whole life: each stage in turn, and none that is already done.

Stages here: corpus -> tokenizer -> tokens -> base -> evaluation. A stage is made again when its settings or inputs
changed; a trained one is never thrown away, but moved aside when asked.
"""

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import prosa
from prosa import pretrain
from prosa.config import dump_settings
from prosa.corpus import Corpus, CorpusSettings, Document, build_corpus, corpus_inputs, open_corpus
from prosa.device import Device, choose_device, choose_device_type
from prosa.errors import ConfigError
from prosa.evaluate import Evaluation, ModelComparison, compare, encode_documents, evaluate
from prosa.life_settings import LifeSettings, read_life, world_of
from prosa.metrics import Progress
from prosa.rundir import (
    hash_file,
    is_complete,
    lock_run,
    record_stage,
    remove_stale,
    stage_is_current,
    write_durably,
    write_json_durably,
)
from prosa.tables import (
    choose_language,
    print_choices,
    print_evaluation,
    print_next_tokens,
    print_samples,
    print_stage,
    print_tree,
    print_warning,
    say_in,
    show_bytes,
)
from prosa.tokenizer import (
    Tokenizer,
    TokenizerSettings,
    TokenShards,
    build_shards,
    open_shards,
    train_tokenizer,
    training_report,
)
from prosa.training import FitResult, join_world, wait_for_main
from prosa.wording import Language

# Muennighoff et al. 2023 (arXiv:2305.16264): up to four epochs, repeated text is nearly as good as new text.
_MANY_EPOCHS = 4


def prepare_inputs(
    run: Path,
    life: LifeSettings,
    *,
    last: Literal["corpus", "tokenizer", "tokens"] = "tokens",
    language: Language = "en",
    workers: int = 0,
    is_shown: bool = True,
) -> None:
    """Corpus, tokenizer and token shards of a run up to the stage `last`, each made unless it is current."""
    with lock_run(run):
        remove_stale(run)
        write_durably(run / "prosa.toml", dump_settings(life).encode())
        corpus = _prepare_corpus(run, life.corpus, language, workers, is_shown)
        if last == "corpus":
            return
        tokenizer = _prepare_tokenizer(run, corpus, life.tokenizer, language, is_shown)
        if last == "tokens":
            _prepare_tokens(run, corpus, tokenizer, language, workers, is_shown)


def _prepare_corpus(run: Path, settings: CorpusSettings, language: Language, workers: int, is_shown: bool) -> Corpus:
    folder, inputs, values = run / "corpus", corpus_inputs(settings), settings.model_dump(mode="json")
    with _stage(language, "corpus", is_shown) as said:
        if stage_is_current(run, "corpus", settings=values, inputs=inputs):
            corpus = open_corpus(folder)
            said.is_kept = True
        else:
            with Progress("corpus", None, unit="byte", is_shown=is_shown) as bar:
                corpus = build_corpus(
                    settings, folder, workers=workers, progress=lambda doing, n: bar.update(n, now=doing)
                )
            record_stage(run, "corpus", settings=values, inputs=inputs, outputs={"corpus": corpus.hash})
        n_documents = sum(part.n_documents for part in corpus.parts)
        n_bytes = sum(part.n_bytes for part in corpus.parts)
        said.text = f"{n_documents:,} {say_in(language, 'documents')}, {show_bytes(n_bytes)}"
    return corpus


def _prepare_tokenizer(
    run: Path, corpus: Corpus, settings: TokenizerSettings, language: Language, is_shown: bool
) -> Tokenizer:
    folder, inputs, values = run / "tokenizer", {"corpus": corpus.hash}, settings.model_dump(mode="json")
    with _stage(language, "tokenizer", is_shown) as said:
        if stage_is_current(run, "tokenizer", settings=values, inputs=inputs):
            tokenizer = Tokenizer.load(folder)
            said.is_kept = True
        else:
            tokenizer = train_tokenizer(corpus, settings, folder)
            record_stage(run, "tokenizer", settings=values, inputs=inputs, outputs={"tokenizer": tokenizer.hash})
        said.text = training_report(folder)
    return tokenizer


def _prepare_tokens(
    run: Path, corpus: Corpus, tokenizer: Tokenizer, language: Language, workers: int, is_shown: bool
) -> None:
    folder, inputs = run / "tokens", {"corpus": corpus.hash, "tokenizer": tokenizer.hash}
    n_bytes = sum(part.n_bytes for part in corpus.parts)
    with _stage(language, "tokens", is_shown) as said:
        if stage_is_current(run, "tokens", settings={}, inputs=inputs):
            shards = open_shards(folder)
            said.is_kept = True
        else:
            shards = _write_shards(folder, corpus, tokenizer, n_bytes, workers, is_shown)
            record_stage(run, "tokens", settings={}, inputs=inputs, outputs={"tokens": shards.hash})
        n_train, n_validation = (sum(counts.values()) for counts in _count_tokens(shards).values())
        said.text = (
            f"{n_train:,} {say_in(language, 'for training')}, {n_validation:,} {say_in(language, 'for validation')}, "
            f"{n_bytes / max(1, n_train + n_validation):.2f} {say_in(language, 'bytes a token')}"
        )


def _write_shards(
    folder: Path, corpus: Corpus, tokenizer: Tokenizer, n_bytes: int, workers: int, is_shown: bool
) -> TokenShards:
    done = 0
    with Progress("tokens", n_bytes, unit="byte", is_shown=is_shown) as bar:

        def count(part: str, part_bytes: int) -> None:
            nonlocal done
            done += part_bytes
            bar.update(done)

        return build_shards(corpus, tokenizer, folder, workers=workers, progress=count)


@dataclass(slots=True)
class _Said:
    text: str = ""
    is_kept: bool = False


@contextmanager
def _stage(language: Language, stage: str, is_shown: bool) -> Iterator[_Said]:
    """Prints one line about a stage when it is done, with its seconds unless it was kept."""
    started = time.monotonic()
    said = _Said()
    yield said
    if is_shown:
        kept = f"  ({say_in(language, 'kept')})" if said.is_kept else ""
        print_stage(language, stage, said.text + kept, None if said.is_kept else time.monotonic() - started)


def set_aside(run: Path, stage: str) -> Path:
    """Renames a stage folder to `STAGE.1`, `STAGE.2` ... so that the stage starts anew and nothing is lost."""
    folder = run / stage
    if not folder.exists():
        raise ConfigError(f"`{folder}` does not exist, so there is nothing to start anew")
    number = 1
    while (run / f"{stage}.{number}").exists():
        number += 1
    return folder.rename(run / f"{stage}.{number}")


def pretrain_base(
    run: Path, life: LifeSettings, *, language: Language = "en", allow_drift: Sequence[str] = (), is_shown: bool = True
) -> FitResult:
    """Everything up to a trained base model in `run/base`; under torchrun the main process prepares for all."""
    with join_world(choose_device_type(life.pretrain.device)) as world_of_processes:
        is_shown = is_shown and world_of_processes.is_main
        if world_of_processes.is_main:
            prepare_inputs(run, life, language=language, is_shown=is_shown)
        wait_for_main(world_of_processes)
        tokenizer, shards = Tokenizer.load(run / "tokenizer"), open_shards(run / "tokens")
        result = pretrain.main(
            run / "base",
            life.pretrain,
            shards,
            tokenizer,
            world=world_of_processes,
            allow_drift=allow_drift,
            announce=partial(_announce, shards, language) if is_shown else lambda job, device: None,
            is_shown=is_shown,
        )
        if result.is_finished and world_of_processes.is_main:
            inputs = {"tokens": shards.hash, "tokenizer": tokenizer.hash}
            outputs = {"model": hash_file(run / "base" / "model" / "model.safetensors")}
            record_stage(run, "base", settings=life.pretrain.model_dump(mode="json"), inputs=inputs, outputs=outputs)
    return result


def evaluate_base(run: Path, *, model: str = "", language: Language = "en", is_shown: bool = True) -> Evaluation:
    """The run's base model (or another) measured on the run's validation split and world; kept in `evaluation/`."""
    life = read_life(run)
    llm = prosa.load(model or run / "base")
    evaluation = evaluate(
        llm.model,
        llm.tokenizer,
        open_shards(run / "tokens") if not model else encode_documents(llm.tokenizer, _validation(run)),
        world=world_of(life),
        settings=life.evaluate,
        device=choose_device(life.pretrain.device, life.pretrain.dtype, life.pretrain.threads),
        language=language,
        is_shown=is_shown,
    )
    if not model:
        write_json_durably(run / "evaluation" / "base.json", evaluation.to_json())
    return evaluation


def compare_models(
    first: str, second: str, run: Path, *, language: Language = "en", is_shown: bool = True
) -> ModelComparison:
    """Two models on the validation documents of `run`, with paired tests."""
    life = read_life(run)
    device = choose_device(life.pretrain.device, life.pretrain.dtype, life.pretrain.threads)
    return compare(
        prosa.load(first),
        prosa.load(second),
        _validation(run),
        world=world_of(life),
        settings=life.evaluate,
        device=device,
        language=language,
        is_shown=is_shown,
    )


def live(run: Path, life: LifeSettings, *, lang: str = "", restart: str = "", allow_drift: Sequence[str] = ()) -> bool:
    """All stages in turn and a summary at the end; False when a signal stopped it before that."""
    language = choose_language(lang or life.lang)
    if restart:
        with lock_run(run):
            set_aside(run, restart)
    started = time.monotonic()
    result = pretrain_base(run, life, language=language, allow_drift=allow_drift)
    if not result.is_finished:
        print_stage(language, "base", say_in(language, "stopped"), None)
        return False
    print_stage(language, "base", f"{result.position.tokens_seen:,} tokens", time.monotonic() - started)
    started = time.monotonic()
    evaluation = evaluate_base(run, language=language)
    print_stage(language, "evaluation", str(run / "evaluation" / "base.json"), time.monotonic() - started)
    summarize(run, life, evaluation, language)
    return True


def summarize(run: Path, life: LifeSettings, evaluation: Evaluation, language: Language) -> None:
    """What the model writes, how good it is, what could come next, and where everything lies."""
    llm = prosa.load(run / "base")
    prompts = pretrain.choose_prompts(open_shards(run / "tokens", verify=False), llm.tokenizer)
    samples = [
        (prompt, llm.generate(prompt, max_new_tokens=90, temperature=0.7, top_p=0.95, seed=seed))
        for prompt in prompts
        for seed in (1, 2)
    ]
    print_samples(samples, language)
    town = world_of(life)
    clozes = town.cloze(language) if town and language in town.settings.languages else []
    # An answer of one word: the table then shows the facts competing, not the articles before them.
    prompt = next((cloze.prompt for cloze in clozes if " " not in cloze.answer), prompts[0])
    print_next_tokens(prompt, llm.next_token(prompt)[:10], language)
    print_evaluation(evaluation, language, to_stderr=True)
    commands = [
        f"prosa generate {run} {shlex.quote(prompts[0])}",
        f"prosa generate {run} {shlex.quote(prompts[-1])} --explain -m 8",
        f"prosa corpus show {run}",
        f"prosa evaluate {run}",
    ]
    print_tree(run, commands, language)


def count_tokens(run: Path) -> dict[str, dict[str, int]]:
    """Tokens of each split and source, or nothing where no tokens were written yet."""
    if not is_complete(run / "tokens"):
        return {}
    return _count_tokens(open_shards(run / "tokens", verify=False))


def _count_tokens(shards: TokenShards) -> dict[str, dict[str, int]]:
    return {split: {name: shards.n_tokens(split, name) for name in shards.sources} for split in ("train", "validation")}


def _announce(shards: TokenShards, language: Language, job: pretrain.Job, device: Device) -> None:
    print_choices(job.choices, device, language=language)
    batches = pretrain.make_batches(shards, job)
    for source, epochs in batches.epochs(job.fit.steps).items():
        if epochs > _MANY_EPOCHS:
            print_warning(f"{source} {say_in(language, 'repeats').format(epochs=epochs)}")


def _validation(run: Path) -> list[Document]:
    return list(open_corpus(run / "corpus").documents("validation"))
