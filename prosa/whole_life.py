"""A whole life in one command: base model, fine-tuning, answers, rankings, reward model, policy, evaluation, report.

Each stage goes on where it was stopped and is kept when it is done. Later rounds begin at the policy: it is sampled,
its answers are ranked, the reward model learns from all rankings, and the policy is improved again.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import prosa
from prosa.alignment import (
    ENOUGH_PROMPTS,
    careful_annotators,
    evaluate_answers,
    fine_tune,
    open_preferences,
    people_rank_enough,
    rank_by_simulation,
    sample_answers,
    train_reward,
)
from prosa.corpus.world import TASK_KINDS
from prosa.errors import ConfigError
from prosa.evaluate import answer_with
from prosa.improvement import reinforce
from prosa.life import live, set_aside
from prosa.life_report import write_report
from prosa.life_settings import LifeSettings, town_of, world_of
from prosa.rundir import lock_run, write_json_durably
from prosa.tables import choose_language, print_stage, print_warning, say_in
from prosa.wording import Language

Stage = Literal["base", "sft", "sample", "rank", "reward", "policy"]
STAGES: tuple[Stage, ...] = get_args(Stage)

_SHOWN_TASKS, _SHOWN_SEED = 2, 7
# Where nobody ranks, so many simulated annotators share the work; this share of it is judged by all of them.
_ANNOTATORS, _OVERLAP = 3, 0.1


def live_whole(
    run: Path,
    life: LifeSettings,
    *,
    lang: str = "",
    restart: str = "",
    until: Stage = "policy",
    n_round: int = 0,
    allow_drift: Sequence[str] = (),
) -> bool:
    """All stages up to `until`; False when a signal stopped it before that, or nothing can be ranked yet.

    restart: a stage to set aside and make anew, with all after it. n_round: 0 is the present one; the one after it
    begins another round of answers, rankings, reward model and policy, starting at the newest policy, and the former
    ones are kept as `reward-round-N` and `policy-round-N`.
    """
    language = choose_language(lang or life.lang)
    if restart:
        with lock_run(run):
            set_aside_from(run, restart)
    is_born = (run / "base" / "model").is_dir() and (run / "evaluation" / "base.json").is_file()
    if (until == "base" or not is_born) and not live(run, life, lang=lang, allow_drift=allow_drift):
        return False
    if until == "base" or not (life.sft.sources or town_of(life)):
        return True
    present = 1 + len(list(run.glob("policy-round-*")))
    n_round = n_round or present
    if n_round > present:
        begin_round(run, n_round)
    elif n_round < present:
        raise ConfigError(f"`{run}` is in round {present}", hint=f"leave --round out, or begin round {present + 1}")
    return _align(run, life, language, until, n_round, allow_drift)


def _align(
    run: Path, life: LifeSettings, language: Language, until: Stage, n_round: int, allow_drift: Sequence[str]
) -> bool:
    with _timed(language, "sft"):
        if not fine_tune(run, life, language=language, allow_drift=allow_drift).is_finished:
            return _stopped(language, "sft")
    has_town = bool(town_of(life))
    if has_town and not (run / "evaluation" / "sft.json").is_file():
        evaluate_answers(run, model=str(run / "sft"), name="sft")
    if until == "sft":
        return True
    answering = policy_of_round(run, n_round)
    with _timed(language, "sample"):
        sample_answers(run, life, model=str(answering), n_round=n_round)
    if until == "sample":
        return True
    if not rank_enough(run, life, language):
        return False
    if until == "rank":
        return True
    with _timed(language, "reward"):
        trained = train_reward(run, life, trunk=str(run / "sft" / "model"), allow_drift=allow_drift)
        if not trained.is_finished:
            return _stopped(language, "reward")
    if until == "reward":
        return True
    with _timed(language, "policy"):
        result = reinforce(run, life, start=str(answering), language=language, allow_drift=allow_drift)
        if not result.is_finished:
            return _stopped(language, "policy")
    if result.stopped_by:
        print_warning(result.stopped_by)
    if has_town:
        evaluate_answers(run)
        ask_all_stages(run, life)
    with open_preferences(run) as store:
        by_people = [not judgment.is_simulated for judgment in store.judgments()]
    counts = {"people": sum(by_people), "simulated": len(by_people) - sum(by_people)}
    write_json_durably(run / "evaluation" / "judgments.json", counts)
    print_stage(language, "report", str(write_report(run, language)), None)
    return True


def ask_all_stages(run: Path, life: LifeSettings) -> None:
    """The same held-out tasks of each kind, answered by every stage that can answer; in `evaluation/answers.json`."""
    town = world_of(life)
    assert town is not None
    tasks = [
        task
        for kind in TASK_KINDS
        for spoken in town.settings.languages
        for task in town.tasks(spoken, split="test", n=_SHOWN_TASKS, seed=_SHOWN_SEED, kinds=[kind])
    ]
    stages = ["sft", *sorted(path.name for path in run.glob("policy-round-*")), "policy"]
    stages = [stage for stage in stages if (run / stage / "model").is_dir()]
    replies = [answer_with(prosa.load(run / stage))([task.messages for task in tasks]) for stage in stages]
    rows = [
        {
            "question": task.messages[-1]["content"],
            "answers": [{"text": text, "is_good": town.check(task, text).is_good} for text, _ in answers],
        }
        for task, *answers in zip(tasks, *replies, strict=True)
    ]
    write_json_durably(run / "evaluation" / "answers.json", {"stages": stages, "rows": rows})


def rank_enough(run: Path, life: LifeSettings, language: Language) -> bool:
    """People's rankings if there are enough, else simulated ones, said clearly; False where nobody can rank."""
    with open_preferences(run) as store:
        is_enough = people_rank_enough(store)
    if is_enough:
        print_stage(language, "rank", say_in(language, "ranked by people"), None)
        return True
    if not town_of(life):
        print_warning(say_in(language, "nobody ranks").format(n=ENOUGH_PROMPTS, run=run))
        return False
    n = rank_by_simulation(run, life, careful_annotators(_ANNOTATORS), overlap=_OVERLAP)
    print_stage(language, "rank", say_in(language, "simulated").format(n=n, enough=ENOUGH_PROMPTS), None)
    return True


def set_aside_from(run: Path, stage: str) -> None:
    """The stage and all that is made from it, renamed; judgments are never set aside."""
    order = ("base", "sft", "reward", "policy")
    if stage not in order:
        raise ConfigError(f"`{stage}` is no stage that can be made anew", hint=f"one of {', '.join(order)}")
    if not (run / stage).exists():
        raise ConfigError(f"`{run / stage}` does not exist, so there is nothing to start anew")
    for later in order[order.index(stage) :]:
        if (run / later).exists():
            set_aside(run, later)
        (run / "evaluation" / f"{later}.json").unlink(missing_ok=True)


def begin_round(run: Path, n_round: int) -> None:
    """Sets the former round's reward model and policy aside as `reward-round-N` and `policy-round-N`."""
    former = n_round - 1
    is_next = former == 1 + len(list(run.glob("policy-round-*")))
    if not is_next or not (run / "policy" / "model").is_dir():
        raise ConfigError(f"round {former} has no finished policy, so round {n_round} cannot begin", hint="`prosa run`")
    evaluation = run / "evaluation" / "policy.json"
    if evaluation.is_file():
        evaluation.rename(run / "evaluation" / f"policy-round-{former}.json")
    # The policy last, as it is what tells the round.
    for stage in ("reward", "policy"):
        if (run / stage).is_dir():
            (run / stage).rename(run / f"{stage}-round-{former}")


def policy_of_round(run: Path, n_round: int) -> Path:
    """The model whose answers a round begins with."""
    return run / "sft" / "model" if n_round == 1 else run / f"policy-round-{n_round - 1}" / "model"


@contextmanager
def _timed(language: Language, stage: str) -> Iterator[None]:
    """Prints a stage's line with its seconds when it is done."""
    started = time.monotonic()
    yield
    print_stage(language, stage, "", time.monotonic() - started)


def _stopped(language: Language, stage: str) -> bool:
    print_stage(language, stage, say_in(language, "stopped"), None)
    return False
