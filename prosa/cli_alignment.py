"""The command line's second half: verbs from fine-tuning to the reward model, in the order in which a model lives."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from prosa.errors import ConfigError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
preferences_app = typer.Typer(no_args_is_help=True, help="The judgments of a run: check, restore, export, import.")

Target = Annotated[str, typer.Argument(help="A settings file or a run folder.")]
Run = Annotated[Path, typer.Argument(help="A run folder.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings by hand, as section.key=value.")]
RunFolder = Annotated[Path | None, typer.Option("--run", help="Where the run is kept (default: runs/NAME).")]
Model = Annotated[str, typer.Option(help="Another model folder (default: the newest stage of the run).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Lang = Annotated[str, typer.Option(help="Language of what is said: pt or en (default: the system's).")]
AllowDrift = Annotated[list[str] | None, typer.Option(help="Go on although this key of the fingerprint differs.")]


@app.command()
def sft(
    target: Target,
    overrides: Overrides = None,
    run: RunFolder = None,
    base: Annotated[str, typer.Option(help="Model to start from (default: the run's base).")] = "",
    minutes: Annotated[float, typer.Option(help="Train for this long.")] = 0,
    epochs: Annotated[float, typer.Option(help="Read all conversations this often.")] = 0,
    steps: Annotated[int, typer.Option(help="Train for this many steps.")] = 0,
    show: Annotated[bool, typer.Option(help="Show what would be taught, and train nothing.")] = False,
    allow_drift: AllowDrift = None,
    lang: Lang = "",
) -> None:
    """Teach the base model to answer; the same command goes on where an earlier one stopped."""
    from prosa.alignment import fine_tune, open_replay, sft_settings
    from prosa.life_settings import resolve_life
    from prosa.tables import choose_language, out_console

    given = {"minutes": minutes, "epochs": epochs, "steps": steps}
    words = [f"sft.{name}={value}" for name, value in given.items() if value]
    folder, life = resolve_life(target, [*words, *(overrides or [])], run)
    language = choose_language(lang)
    if show:
        from prosa.sft import preview, print_rows

        settings, start = sft_settings(life), Path(base) if base else folder / "base"
        tokenizer, batch, _ = preview(settings, start, shards=open_replay(folder, settings))
        print_rows(out_console(), tokenizer, batch, language=language)
        return
    result = fine_tune(folder, life, base=base, language=language, allow_drift=allow_drift or [])
    if not result.is_finished:
        say(f"{result.stopped_by}: saved at step {result.position.step}; the same command goes on from there")


@app.command()
def sample(
    target: Target,
    overrides: Overrides = None,
    run: RunFolder = None,
    model: Model = "",
    n: Annotated[int, typer.Option("-n", help="How many prompts.")] = 0,
    k: Annotated[int, typer.Option("-k", help="How many answers to each.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Draws prompts and answers.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write several answers to each prompt, to be ranked."""
    from prosa.alignment import sample_answers
    from prosa.life_settings import resolve_life

    given = {"n_prompts": n or None, "k": k or None, "seed": seed}
    words = [f"sample.{name}={value}" for name, value in given.items() if value is not None]
    folder, life = resolve_life(target, [*words, *(overrides or [])], run)
    print_counts(sample_answers(folder, life, model=model, is_shown=not as_json).to_json(), as_json)


@app.command()
def rank(
    run: Run,
    annotator: Annotated[str, typer.Option(help="Who ranks: any name that stays the same.")] = "",
    report: Annotated[bool, typer.Option(help="Show agreement, biases and scores instead.")] = False,
    simulate: Annotated[int, typer.Option(help="Let N simulated annotators of the town rank everything.")] = 0,
    temperature: Annotated[float, typer.Option(help="How noisy simulated annotators are.")] = 0.1,
    as_json: AsJson = False,
    lang: Lang = "",
) -> None:
    """Rank answers from best to worst, with single keys; everything is saved at once."""
    from prosa.alignment import open_preferences
    from prosa.tables import choose_language, out_console

    language = choose_language(lang)
    if report:
        from prosa.preferences import describe_judgments, judgments_table

        with open_preferences(run) as store:
            described = describe_judgments(store.items(), store.judgments())
        print_json(described) if as_json else out_console().print(judgments_table(described, language=language))
        return
    if simulate:
        from prosa.alignment import careful_annotators, rank_by_simulation
        from prosa.life_settings import read_life

        who = careful_annotators(simulate, temperature)
        print_counts({"simulated_judgments": rank_by_simulation(run, read_life(run), who)}, as_json)
        return
    if not annotator:
        raise ConfigError("who ranks is not said", hint="give a name that stays the same: `--annotator ana`")
    from prosa.preferences import rank_in_terminal

    with open_preferences(run) as store:
        rank_in_terminal(store, annotator, stdin=sys.stdin, stdout=sys.stdout, language=language)


@preferences_app.command("check")
def preferences_check(run: Run) -> None:
    """Verify every record of the store and its log; what is wrong is listed, and the exit code is 65."""
    from prosa.errors import DataError
    from prosa.preferences import check_store

    problems = check_store(run / "preferences.sqlite")
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise DataError(f"{len(problems)} problems", hint=f"`prosa preferences restore {run}` rebuilds the store")


@preferences_app.command("restore")
def preferences_restore(run: Run) -> None:
    """Rebuild a damaged store from its log and snapshots; the damaged file is kept beside it."""
    from dataclasses import asdict

    from prosa.preferences import restore_store

    print_counts(asdict(restore_store(run / "preferences.sqlite")), as_json=False)


@preferences_app.command("export")
def preferences_export(
    run: Run,
    path: Annotated[Path, typer.Argument(help="Where to write.")],
    to: Annotated[str, typer.Option("--format", help="prosa, trl, openrlhf, hh, nemo or argilla.")] = "prosa",
) -> None:
    """Write the judgments for another program, and say what its format cannot hold."""
    from prosa.alignment import open_preferences
    from prosa.preferences import export_store, write_rankings

    with open_preferences(run) as store:
        if to == "prosa":
            print_counts({"records": export_store(store, path)}, as_json=False)
            return
        report = write_rankings(store.ranked_answers(), path, to)  # type: ignore[arg-type]
    print_counts(report.to_json(), as_json=False)


@preferences_app.command("import")
def preferences_import(run: Run, path: Annotated[Path, typer.Argument(help="What to read.")]) -> None:
    """Add rankings that another program or another run wrote."""
    from prosa.alignment import open_preferences
    from prosa.corpus import ReadReport
    from prosa.preferences import import_file

    report = ReadReport()
    with open_preferences(run) as store:
        n_items, n_judgments = import_file(store, path, report)
    print_counts({"items": n_items, "judgments": n_judgments, **report.rejected.counts}, as_json=False)


@app.command()
def reward(
    target: Target,
    overrides: Overrides = None,
    run: RunFolder = None,
    trunk: Annotated[str, typer.Option(help="Model folder to start from (default: the run's sft/model).")] = "",
    allow_drift: AllowDrift = None,
    as_json: AsJson = False,
    lang: Lang = "",
) -> None:
    """Train a reward model on the rankings, and show how far it can be trusted."""
    import orjson

    from prosa.alignment import train_reward
    from prosa.life_settings import resolve_life
    from prosa.reward import card_table
    from prosa.tables import choose_language, out_console

    folder, life = resolve_life(target, overrides or [], run)
    result = train_reward(folder, life, trunk=trunk, allow_drift=allow_drift or [], is_shown=not as_json)
    if not result.is_finished:
        say(f"{result.stopped_by}: saved at step {result.position.step}; the same command goes on from there")
        return
    record = orjson.loads((folder / "reward" / "card.json").read_bytes())
    if as_json:
        print_json(record)
    elif record["card"]:
        out_console().print(card_table(record["card"], language=choose_language(lang)))


@app.command()
def rl(
    target: Target,
    overrides: Overrides = None,
    run: RunFolder = None,
    algorithm: Annotated[str, typer.Option(help="ppo, grpo, rloo, dpo, ipo or best_of_n.")] = "",
    start: Annotated[str, typer.Option(help="Model to start from (default: the run's sft/model).")] = "",
    steps: Annotated[int, typer.Option(help="Train for this many steps.")] = 0,
    minutes: Annotated[float, typer.Option(help="Train for this long.")] = 0,
    beta: Annotated[
        float, typer.Option(help="The price of distance from the reference (default: the settings').")
    ] = -1,
    show: Annotated[
        bool, typer.Option(help="Show answers of the last step token by token, and train nothing.")
    ] = False,
    allow_drift: AllowDrift = None,
    as_json: AsJson = False,
    lang: Lang = "",
) -> None:
    """Let the model learn from its reward; the same command goes on where an earlier one stopped."""
    from prosa.improvement import imitate_best, learn_directly, reinforce
    from prosa.life_settings import resolve_life
    from prosa.tables import choose_language

    language = choose_language(lang)
    is_direct = algorithm in ("dpo", "ipo")
    if algorithm == "best_of_n" and (steps or minutes or beta >= 0):
        raise ConfigError("best_of_n takes no steps, minutes or beta", hint="it reads the best answers once")
    if is_direct and minutes:
        raise ConfigError(f"{algorithm} takes no minutes", hint="give steps, or set direct.epochs")
    given: dict[str, Any] = {"steps": steps or None, "minutes": minutes or None}
    if is_direct:
        given = {"method": algorithm, "beta": beta if beta >= 0 else None, "steps": steps or None}
    elif algorithm != "best_of_n":
        given |= {"algorithm": algorithm or None, "kl_coefficient": beta if beta >= 0 else None}
    section = "direct" if is_direct else "rl"
    words = [f"{section}.{name}={value}" for name, value in given.items() if value is not None]
    folder, life = resolve_life(target, [*words, *(overrides or [])], run)
    if show:
        show_tokens(folder, language)
        return
    allowed, is_shown = allow_drift or [], not as_json
    if is_direct:
        result = learn_directly(folder, life, start=start, allow_drift=allowed, is_shown=is_shown)
    elif algorithm == "best_of_n":
        result = imitate_best(folder, life, start=start, allow_drift=allowed, is_shown=is_shown)
    else:
        result = reinforce(folder, life, start=start, language=language, allow_drift=allowed, is_shown=is_shown)
    if not result.is_finished:
        say(f"{result.stopped_by}: saved at step {result.position.step}; the same command goes on from there")
    elif result.stopped_by:
        say(result.stopped_by)


def show_tokens(run: Path, language: Any) -> None:
    """The answers of the newest step that were kept token by token."""
    from prosa.metrics import read_metrics
    from prosa.rl import render_record
    from prosa.tables import out_console

    records = [record for record in read_metrics(run / "policy" / "samples.jsonl") if "advantage" in record]
    if not records:
        raise ConfigError(f"`{run}` keeps no answers of reinforcement learning", hint="`prosa rl` trains a policy")
    for record in records:
        if record["step"] == records[-1]["step"]:
            out_console().print(render_record(record, language))


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="A run, a stage, a checkpoint or a Hugging Face folder.")],
    system: Annotated[str, typer.Option(help="What the assistant is told first.")] = "",
    temperature: Annotated[float, typer.Option("--temperature", "-t")] = 0.7,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", "-m")] = 128,
    seed: int | None = None,
    fast: Annotated[
        bool, typer.Option(help="Compile decoding, in the background; the program is kept for the next time.")
    ] = False,
    lang: Lang = "",
) -> None:
    """Talk to a model; /help lists the commands."""
    import prosa
    from prosa.generate import Sampling, chat_in_terminal, choose_threads
    from prosa.tables import choose_language

    sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
    llm = prosa.load(model)
    choose_threads(llm.model)
    if fast:
        llm.compile()
    chat_in_terminal(llm, system=system, sampling=sampling, language=choose_language(lang))


app.add_typer(preferences_app, name="preferences")


def print_counts(counts: dict[str, Any], as_json: bool) -> None:
    """A line for each number that is not 0."""
    if as_json:
        print_json(counts)
        return
    for name, value in counts.items():
        if value:
            typer.echo(f"{name.replace('_', ' '):>28}  {value:,}" if isinstance(value, int) else f"{name}: {value}")


def print_json(value: Any) -> None:
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    sys.stdout.write(orjson.dumps(value, option=options).decode() + "\n")


def say(message: str) -> None:
    """One line for the person at the terminal, on stderr."""
    typer.echo(message, err=True)
