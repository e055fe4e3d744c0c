"""The last part of a life: the policy learns from a reward, from rankings directly, or from its own best answers.

A run with `sft/` and judgments, or `reward/`, comes in; `policy/` in that run goes out.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import orjson

from prosa import rl, sft
from prosa.alignment import read_rankings, sft_settings
from prosa.corpus import ReadReport
from prosa.device import Device
from prosa.errors import ConfigError
from prosa.generate import load
from prosa.life_settings import LifeSettings, town_of, world_of
from prosa.model import load_settings
from prosa.preferences import Prompt, SampleSettings, read_prompts
from prosa.reward import RewardFunction, hash_trunk
from prosa.rundir import hash_file, hash_json, record_stage, write_durably
from prosa.tables import print_choices, print_left_out, print_warning
from prosa.tokenizer import Tokenizer
from prosa.training import FitResult, join_world, wait_for_main
from prosa.wording import Language

# Answers of which rejection fine-tuning keeps one.
_BEST_OF = 16


def reinforce(
    run: Path,
    life: LifeSettings,
    *,
    start: str = "",
    language: Language = "en",
    allow_drift: Sequence[str] = (),
    is_shown: bool = True,
) -> FitResult:
    """`run/sft` (or another model) trained against its reward, in `run/policy`."""
    begin = Path(start) if start else run / "sft" / "model"
    with join_world(life.rl.device) as processes:
        is_shown = is_shown and processes.is_main
        result = rl.main(
            run / "policy",
            life.rl,
            begin,
            read_rl_prompts(life),
            partial(open_reward, run, life),
            replay=partial(_read_replay, life, begin),
            world=processes,
            allow_drift=allow_drift,
            announce=partial(_announce, language) if is_shown else lambda job, device, counts: None,
            is_shown=is_shown,
        )
        if result.is_finished and processes.is_main:
            job = rl.read_job(run / "policy")
            assert job is not None
            _record(run, life.rl.model_dump(mode="json"), job.inputs)
        wait_for_main(processes)
    return result


def learn_directly(
    run: Path, life: LifeSettings, *, start: str = "", allow_drift: Sequence[str] = (), is_shown: bool = True
) -> FitResult:
    """DPO or IPO: `run/sft` trained on the judgments of the store, without a reward model, in `run/policy`."""
    ranked = read_rankings(run)
    with join_world(life.direct.device) as processes:
        result = rl.train_directly(
            run / "policy",
            life.direct,
            Path(start) if start else run / "sft" / "model",
            ranked,
            world=processes,
            allow_drift=allow_drift,
            is_shown=is_shown and processes.is_main,
        )
        if result.is_finished and processes.is_main:
            job = rl.read_direct_job(run / "policy")
            assert job is not None
            _record(run, life.direct.model_dump(mode="json"), job.inputs)
        wait_for_main(processes)
    return result


def imitate_best(
    run: Path, life: LifeSettings, *, start: str = "", allow_drift: Sequence[str] = (), is_shown: bool = True
) -> FitResult:
    """Rejection fine-tuning: the best of several answers to each prompt are learned like any conversation."""
    begin = Path(start) if start else run / "sft" / "model"
    llm = load(begin)
    reward = open_reward(run, life, llm.tokenizer)
    best = rl.choose_best(
        llm,
        read_rl_prompts(life),
        reward.worth,
        n=_BEST_OF,
        temperature=life.rl.temperature,
        max_new_tokens=life.rl.max_new_tokens,
        seed=life.rl.seed,
    )
    path = run / "policy" / "best.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, b"".join(orjson.dumps(one.to_conversation()) + b"\n" for one in best))
    settings = sft.SftSettings(sources=(sft.ConversationSource(path=str(path), name="best"),), epochs=1)
    with join_world(settings.device) as processes:
        result = sft.main(run / "policy", settings, begin, world=processes, allow_drift=allow_drift, is_shown=is_shown)
        if result.is_finished and processes.is_main:
            job = sft.read_job(run / "policy")
            assert job is not None
            _record(run, settings.model_dump(mode="json"), {**job.inputs, **reward.inputs})
        wait_for_main(processes)
    return result


def read_rl_prompts(life: LifeSettings) -> list[Prompt]:
    """What the policy is asked in training: other tasks of the town than those whose answers were ranked."""
    settings, town = life.rl, town_of(life)
    source = town if settings.prompts == "world:" and town else settings.prompts
    report = ReadReport()
    asked = SampleSettings(prompts=source, n_prompts=settings.n_prompts, seed=life.sample.seed + settings.seed + 1)
    prompts = read_prompts(asked, report)
    print_left_out(report, "prompts")
    return prompts


def open_reward(run: Path, life: LifeSettings, tokenizer: Tokenizer) -> rl.Reward:
    """What answers are worth by the life's settings, and what they are really worth, where that is known."""
    wanted = life.rl.reward
    town = world_of(life)
    gold_wanted = life.rl.gold or ("world" if town and life.rl.prompts == "world:" else "")
    gold = _open_worth(run, life, gold_wanted, tokenizer) if gold_wanted else None
    folder = _reward_folder(run, wanted)
    if wanted == "model" and not folder.is_dir():
        raise ConfigError(f"`{run}` has no reward model yet", hint="`prosa reward` trains one, or set rl.reward=world")
    if folder.is_dir():
        return rl.open_reward_model(folder, tokenizer, gold, {"reward": hash_trunk(folder)})
    made_from = hash_file(Path(wanted.rpartition(":")[0])) if ".py:" in wanted else town_of(life)
    return rl.Reward(_open_worth(run, life, wanted, tokenizer), gold, {"reward": hash_json([wanted, made_from])})


def _open_worth(run: Path, life: LifeSettings, wanted: str, tokenizer: Tokenizer) -> rl.Worth:
    if wanted == "world":
        town = world_of(life)
        if town is None:
            raise ConfigError("the run was not trained on a town, so nothing tells good answers", hint="set rl.reward")
        return rl.worth_by_town(town)
    if ".py:" in wanted:
        return rl.worth_by_function(rl.load_function(wanted))
    return rl.worth_by_model(RewardFunction.load(_reward_folder(run, wanted), tokenizer=tokenizer), tokenizer)


def _reward_folder(run: Path, wanted: str) -> Path:
    return run / "reward" / "model" if wanted == "model" else Path(wanted)


def _read_replay(life: LifeSettings, begin: Path, tokenizer: Tokenizer) -> Sequence[sft.EncodedConversation]:
    """The conversations that the model learned to answer from."""
    return sft.prepare_data(sft_settings(life), tokenizer, load_settings(begin).context_length).train


def _record(run: Path, settings: dict[str, object], inputs: dict[str, str]) -> None:
    outputs = {"model": hash_file(run / "policy" / "model" / "model.safetensors")}
    record_stage(run, "policy", settings=settings, inputs=inputs, outputs=outputs)


def _announce(language: Language, job: rl.Job, device: Device, counts: rl.PromptCounts) -> None:
    print_choices(job.choices, device, language=language)
    if counts.n_too_long:
        print_warning(f"{counts.n_too_long:,} prompts are too long for an answer and are left out")
