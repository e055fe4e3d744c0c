"""The command line: verbs in the order in which a model lives, each calling one room.

Data goes to stdout, everything else to stderr. Rooms are imported inside the verbs, so that `prosa --help` is instant.
"""

import errno
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from prosa.cli_alignment import app as alignment_app
from prosa.cli_alignment import print_json, say
from prosa.errors import ConfigError, ProsaError, StorageError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
corpus_app = typer.Typer(no_args_is_help=True, help="Sources become clean, unique, mixed documents.")
tokenizer_app = typer.Typer(no_args_is_help=True, help="Documents become token ids.")
app.add_typer(corpus_app, name="corpus")
app.add_typer(tokenizer_app, name="tokenizer")

Target = Annotated[
    str, typer.Argument(help="A settings file, a run folder, a file or folder of text, `world:` or `python:`.")
]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings by hand, as section.key=value.")]
RunFolder = Annotated[Path | None, typer.Option("--run", help="Where the run is kept (default: runs/NAME).")]
Minutes = Annotated[float, typer.Option(help="Train for this long; shape, batch and rates follow.")]
Tokens = Annotated[int, typer.Option(help="Train on this many tokens instead.")]
Steps = Annotated[int, typer.Option(help="Train for this many steps instead.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Lang = Annotated[str, typer.Option(help="Language of what is said: pt or en (default: the system's).")]
AllowDrift = Annotated[list[str] | None, typer.Option(help="Go on although this key of the fingerprint differs.")]


@app.command("run")
def run_life(
    target: Target,
    overrides: Overrides = None,
    run: RunFolder = None,
    minutes: Minutes = 0,
    tokens: Tokens = 0,
    steps: Steps = 0,
    lang: Lang = "",
    restart: Annotated[
        str, typer.Option(help="Make this stage (base, sft, reward, policy) and all after it anew.")
    ] = "",
    until: Annotated[str, typer.Option(help="Live up to base, sft, sample, rank, reward or policy.")] = "policy",
    n_round: Annotated[int, typer.Option("--round", help="2: go through answers, rankings and reward once more.")] = 0,
    allow_drift: AllowDrift = None,
) -> None:
    """Live a whole life: from text to an assistant that learned what people prefer, with a report of it all."""
    from prosa.life_settings import resolve_life
    from prosa.whole_life import STAGES, live_whole

    if until not in STAGES:
        raise ConfigError(f"`{until}` is no stage", hint=f"one of {', '.join(STAGES)}")
    folder, life = resolve_life(target, overrides or [], run, minutes=minutes, tokens=tokens, steps=steps)
    live_whole(folder, life, lang=lang, restart=restart, until=until, n_round=n_round, allow_drift=allow_drift or [])


@app.command("new")
def new_project(
    folder: Annotated[Path, typer.Argument(help="A folder that is not there yet; its name is the project's.")],
    lang: Lang = "",
) -> None:
    """Start a project of your own: a settings file that explains itself, and places for your texts."""
    from prosa.new_project import start_project
    from prosa.tables import choose_language

    for path in start_project(folder, choose_language(lang)):
        typer.echo(path)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")], lang: Lang = "") -> None:
    """Write the report of a life as one page that opens anywhere."""
    from prosa.life_report import write_report
    from prosa.life_settings import read_life
    from prosa.tables import choose_language

    life = read_life(run)
    typer.echo(write_report(run, choose_language(lang or life.lang)))


@corpus_app.command("build")
def corpus_build(target: Target, overrides: Overrides = None, run: RunFolder = None, workers: int = 0) -> None:
    """Read, clean, deduplicate and split the sources."""
    from prosa.corpus import describe_corpus, open_corpus
    from prosa.life import prepare_inputs
    from prosa.life_settings import resolve_life
    from prosa.tables import print_corpus

    folder, life = resolve_life(target, overrides or [], run)
    prepare_inputs(folder, life, last="corpus", workers=workers)
    print_corpus(describe_corpus(open_corpus(folder / "corpus")))


@corpus_app.command("show")
def corpus_show(target: Target, overrides: Overrides = None, run: RunFolder = None, as_json: AsJson = False) -> None:
    """What is in the corpus: documents, bytes, languages, kinds, duplicates, rejects, samples."""
    from prosa.corpus import describe_corpus, open_corpus
    from prosa.life import count_tokens, prepare_inputs
    from prosa.life_settings import resolve_life
    from prosa.tables import print_corpus

    folder, life = resolve_life(target, overrides or [], run)
    prepare_inputs(folder, life, last="corpus", is_shown=not as_json)
    description = describe_corpus(open_corpus(folder / "corpus")) | {"tokens": count_tokens(folder)}
    print_json(description) if as_json else print_corpus(description)


@tokenizer_app.command("train")
def tokenizer_train(target: Target, overrides: Overrides = None, run: RunFolder = None) -> None:
    """Train a byte-level BPE on the corpus and write the token shards."""
    from prosa.corpus import open_corpus
    from prosa.life import prepare_inputs
    from prosa.life_settings import resolve_life
    from prosa.tables import print_tokenizer
    from prosa.tokenizer import Tokenizer, describe_tokenizer

    folder, life = resolve_life(target, overrides or [], run)
    prepare_inputs(folder, life)
    print_tokenizer(describe_tokenizer(Tokenizer.load(folder / "tokenizer"), open_corpus(folder / "corpus")))


@tokenizer_app.command("show")
def tokenizer_show(
    path: Annotated[Path, typer.Argument(help="A run or a folder with tokenizer.json.")],
    text: Annotated[str, typer.Argument(help="Text to show as tokens.")] = "",
    as_json: AsJson = False,
) -> None:
    """How the tokenizer cuts a text, or how many bytes its tokens hold by language and kind."""
    from prosa.corpus import open_corpus
    from prosa.tables import print_tokenizer, print_tokens
    from prosa.tokenizer import Tokenizer, describe_tokenizer

    folder = path / "tokenizer" if (path / "tokenizer").is_dir() else path
    tokenizer = Tokenizer.load(folder)
    if text:
        ids = tokenizer.encode(text)
        tokens = [{"id": id, "token": tokenizer.show(id), "n_bytes": len(tokenizer.token_bytes(id))} for id in ids]
        print_json(tokens) if as_json else print_tokens(tokens)
        return
    description = describe_tokenizer(tokenizer, open_corpus(path / "corpus"))
    print_json(description) if as_json else print_tokenizer(description)


@app.command()
def plan(
    target: Target,
    overrides: Overrides = None,
    run: RunFolder = None,
    minutes: Minutes = 0,
    tokens: Tokens = 0,
    steps: Steps = 0,
    as_json: AsJson = False,
) -> None:
    """What would be trained here in that time, and why, without training."""
    from prosa.device import choose_device
    from prosa.life import prepare_inputs
    from prosa.life_settings import resolve_life
    from prosa.pretrain import plan as plan_training
    from prosa.tables import print_choices
    from prosa.tokenizer import open_shards
    from prosa.training import World

    folder, life = resolve_life(target, overrides or [], run, minutes=minutes, tokens=tokens, steps=steps)
    prepare_inputs(folder, life, is_shown=not as_json)
    shards = open_shards(folder / "tokens")
    device = choose_device(life.pretrain.device, life.pretrain.dtype, life.pretrain.threads)
    model, fit, choices = plan_training(life.pretrain, shards, device, World(), is_measured=False)
    if as_json:
        choices_json = [choice.model_dump() for choice in choices]
        print_json({"model": model.model_dump(), "fit": fit.model_dump(), "choices": choices_json})
        return
    print_choices(choices, device, to_stdout=True)
    if life.pretrain.minutes:
        say("steps are expected from what products take here; training measures some steps first, and may take more")


@app.command()
def pretrain(
    target: Target,
    overrides: Overrides = None,
    run: RunFolder = None,
    minutes: Minutes = 0,
    tokens: Tokens = 0,
    steps: Steps = 0,
    allow_drift: AllowDrift = None,
) -> None:
    """Train a base model; the same command goes on where an earlier one stopped."""
    from prosa.life import pretrain_base
    from prosa.life_settings import resolve_life

    folder, life = resolve_life(target, overrides or [], run, minutes=minutes, tokens=tokens, steps=steps)
    result = pretrain_base(folder, life, allow_drift=allow_drift or [])
    if not result.is_finished:
        say(f"{result.stopped_by}: saved at step {result.position.step}; the same command goes on from there")


app.add_typer(alignment_app)


@app.command()
def generate(
    model: Annotated[str, typer.Argument(help="A run, a stage, a checkpoint or a Hugging Face folder.")],
    prompt: Annotated[str, typer.Argument(help="The beginning; `-` reads it from stdin.")] = "",
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", "-m")] = 128,
    temperature: Annotated[float, typer.Option("--temperature", "-t")] = 0.8,
    top_k: int = 0,
    top_p: float = 0.95,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    frequency_penalty: float = 0.0,
    presence_penalty: float = 0.0,
    logit_bias: Annotated[list[str] | None, typer.Option(help="ID=BIAS, added to a token's logit; may repeat.")] = None,
    when_full: Annotated[str, typer.Option(help="When the context is full: slide or stop.")] = "slide",
    seed: int | None = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text; may repeat.")] = None,
    n: Annotated[int, typer.Option("-n", help="How many samples.")] = 1,
    explain: Annotated[bool, typer.Option(help="Show every step's ten likeliest tokens.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write on from a prompt, token by token."""
    import prosa

    text = sys.stdin.read() if prompt == "-" else prompt
    llm = prosa.load(model)
    sampling: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "frequency_penalty": frequency_penalty,
        "presence_penalty": presence_penalty,
        "logit_bias": dict(_parse_bias(word) for word in logit_bias or ()),
        "when_full": when_full,
        "seed": seed,
        "stop": tuple(stop or ()),
    }
    if explain:
        from prosa.tables import print_explained

        print_explained(llm.explain(text, **sampling))
    elif as_json:
        from prosa.generate import Sampling

        completions = llm.complete([llm.encode_prompt(text)], Sampling(**sampling, n=n))[0]
        print_json([{"prompt": text, "text": c.text, "finish_reason": c.finish_reason} for c in completions])
    elif n > 1:
        for index, sample in enumerate(llm.generate(text, n=n, **sampling), start=1):
            typer.echo(f"{index}. {text}{sample}\n")
    else:
        typer.echo(text, nl=False)
        for piece in llm.generate(text, stream=True, **sampling):
            typer.echo(piece, nl=False)
            sys.stdout.flush()
        typer.echo()


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    model: Annotated[str, typer.Option(help="Another model to measure on this run's data.")] = "",
    answers: Annotated[bool, typer.Option(help="Ask the newest stage held-out questions of its town instead.")] = False,
    sampled: Annotated[bool, typer.Option(help="With --answers: draw them at temperature 1, not greedily.")] = False,
    as_json: AsJson = False,
    lang: Lang = "",
) -> None:
    """Bits per byte with intervals, world facts, and how much is learned by heart."""
    if answers:
        from prosa.alignment import evaluate_answers
        from prosa.evaluate import assistant_table
        from prosa.tables import choose_language, out_console

        report = evaluate_answers(run, model=model, sampling="sampled" if sampled else "greedy", is_shown=not as_json)
        print_json(report.to_json()) if as_json else out_console().print(
            assistant_table(report, language=choose_language(lang))
        )
        return
    from prosa.life import evaluate_base
    from prosa.tables import choose_language, print_evaluation

    evaluation = evaluate_base(run, model=model, is_shown=not as_json)
    print_json(evaluation.to_json()) if as_json else print_evaluation(evaluation, choose_language(lang))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A run or model folder.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    run: Annotated[Path | None, typer.Option(help="Whose validation documents to use (default: the first's).")] = None,
    as_json: AsJson = False,
) -> None:
    """Which of two models predicts the same documents better, and whether that could be chance."""
    from prosa.life import compare_models
    from prosa.tables import print_comparison

    result = compare_models(first, second, run or Path(first), is_shown=not as_json)
    print_json(result.to_json()) if as_json else print_comparison(first, second, result)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What this machine offers: device, number format, speed, memory, compiler."""
    import platform

    import torch

    import prosa
    from prosa.device import available_memory_bytes, choose_device, find_compiler, find_compiler_problem

    device = choose_device()
    facts = {
        "prosa": prosa.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": f"{device.type} ({device.name})",
        "threads": device.threads,
        "number format": f"{device.dtype}: {device.reason}",
        "matmul": f"{device.matmul_flops_per_second / 1e9:,.0f} GFLOP/s",
        "free memory": f"{available_memory_bytes() / 1e9:.1f} GB",
        "C++ compiler": find_compiler() or "none",
        "torch.compile": find_compiler_problem(device.type) or "works",
    }
    if as_json:
        print_json(facts)
    else:
        for name, value in facts.items():
            typer.echo(f"{name:>14}  {value}")


def _parse_bias(word: str) -> tuple[int, float]:
    id, _, bias = word.partition("=")
    try:
        return int(id), float(bias)
    except ValueError:
        raise ConfigError(f"`{word}` is not of the form ID=BIAS", hint="for example `--logit-bias 17=-5`") from None


def main() -> None:
    """Runs the command line; a user's mistake ends in one message, a hint and its exit code (docs/cli.md)."""
    try:
        app()
    except ProsaError as error:
        say(f"prosa: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        known = explain_os_error(error)
        if known is None:
            raise
        say(f"prosa: {known}")
        sys.exit(known.exit_code)


def explain_os_error(error: OSError) -> ProsaError | None:
    """The user's side of a system error: a full disk, a wrong path; None when it must be our own bug."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return StorageError(
            f"the disk refused to write: {error}", hint="free some space and run the same command again"
        )
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return ConfigError(str(error), hint="check the path and its permissions")
    return None
