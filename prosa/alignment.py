"""The second half of a life: the base model learns to answer, its answers are ranked, rankings become a reward model.

A run with a trained base comes in; `sft/`, `preferences.sqlite` and `reward/` in that run go out.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import prosa
from prosa import reward, sft
from prosa.corpus import ReadReport, world
from prosa.device import Device
from prosa.errors import ConfigError, DataError
from prosa.evaluate import AssistantReport, Drawing, evaluate_assistant
from prosa.generate import newest_stage
from prosa.life_settings import LifeSettings, read_life, town_of, world_of
from prosa.metrics import Progress
from prosa.preferences import (
    Answer,
    PreferenceStore,
    RankedAnswers,
    SampleReport,
    SimulatedAnnotator,
    annotator_weights,
    sample_for_ranking,
    with_weights,
)
from prosa.rundir import hash_file, record_stage, write_json_durably
from prosa.streams import derive_seed
from prosa.tables import print_choices, print_left_out
from prosa.tokenizer import TokenShards, open_shards
from prosa.training import FitResult, join_world, wait_for_main
from prosa.wording import Language

# Answers of the reference policy on which scores are normalised.
_REFERENCE_PROMPTS = 256
# A person's rankings are enough from this many prompts on; before, simulated annotators stand in.
ENOUGH_PROMPTS = 40


def fine_tune(
    run: Path,
    life: LifeSettings,
    *,
    base: str = "",
    language: Language = "en",
    allow_drift: Sequence[str] = (),
    is_shown: bool = True,
) -> FitResult:
    """`run/base` (or another model folder) taught to answer, in `run/sft`."""
    settings, start = sft_settings(life), Path(base) if base else run / "base"
    with join_world(settings.device) as processes:
        is_shown = is_shown and processes.is_main
        result = sft.main(
            run / "sft",
            settings,
            start,
            world=processes,
            shards=open_replay(run, settings),
            allow_drift=allow_drift,
            announce=partial(_announce, language) if is_shown else lambda job, device, data: None,
            is_shown=is_shown,
        )
        if result.is_finished and processes.is_main:
            job = sft.read_job(run / "sft")
            assert job is not None
            outputs = {"model": hash_file(run / "sft" / "model" / "model.safetensors")}
            record_stage(run, "sft", settings=settings.model_dump(mode="json"), inputs=job.inputs, outputs=outputs)
        wait_for_main(processes)
    return result


def sft_settings(life: LifeSettings) -> sft.SftSettings:
    """The life's settings for fine-tuning; without sources, the instructions of the town it was trained on."""
    if life.sft.sources:
        return life.sft
    town = town_of(life)
    if not town:
        raise ConfigError(
            "there is nothing to learn to answer from: `sft.sources` is empty",
            hint='name your conversations in the settings file: [sft] sources = [{ path = "chats.jsonl" }]',
        )
    return life.sft.model_copy(update={"sources": (sft.ConversationSource(path=town, name="town"),)})


def open_replay(run: Path, settings: sft.SftSettings) -> TokenShards | None:
    """The text that the run's base model learned from, if fine-tuning asks for it and it is there."""
    return open_shards(run / "tokens") if settings.replay and (run / "tokens").is_dir() else None


def open_preferences(run: Path) -> PreferenceStore:
    """The run's store of items and judgments, made if it is not there."""
    if not (run / "prosa.toml").is_file():
        raise ConfigError(f"`{run}` is no run folder: it has no prosa.toml", hint="`prosa run` makes one")
    return PreferenceStore(run / "preferences.sqlite")


def people_rank_enough(store: PreferenceStore) -> bool:
    """Whether people, not programs, have ranked the answers to ENOUGH_PROMPTS prompts."""
    return len({one.item_id for one in store.judgments() if not one.is_simulated}) >= ENOUGH_PROMPTS


def sample_answers(
    run: Path, life: LifeSettings, *, model: str = "", n_round: int = 1, is_shown: bool = True
) -> SampleReport:
    """K answers of the newest stage (or of `model`) to each prompt, added to the store; other prompts each round."""
    settings, llm = life.sample, prosa.load(model or run)
    settings = settings.model_copy(update={"seed": settings.seed + 1000 * (n_round - 1)})
    town = town_of(life)
    if settings.prompts == "world:" and town:
        settings = settings.model_copy(update={"prompts": town})
    read_report = ReadReport()
    with (
        open_preferences(run) as store,
        Progress("answers", settings.n_prompts, unit="prompt", is_shown=is_shown) as bar,
    ):
        report = sample_for_ranking(
            llm,
            store,
            settings,
            model_hash=sft.hash_weights(llm.model),
            read_report=read_report,
            progress=bar.update,
        )
    print_left_out(read_report, "prompts")
    return report


def careful_annotators(n: int, temperature: float = 0.1) -> list[SimulatedAnnotator]:
    """Simulated people who see a missed form, let like answers tie, and reverse one pair in twenty."""
    return [
        SimulatedAnnotator(f"{i + 1}", temperature=temperature, tie_margin=0.25, flip_share=0.05, seed=i)
        for i in range(n)
    ]


def rank_by_simulation(
    run: Path, life: LifeSettings, annotators: Sequence[SimulatedAnnotator], *, overlap: float = 1.0
) -> int:
    """Simulated annotators judge the items of the town by their gold reward; how many judgments are new.

    overlap: share of the items that all of them judge, to see how far they agree; of the others each judges its part.
    """
    town = world_of(life)
    if town is None:
        raise ConfigError(
            f"`{run}` was not trained on a town, so nothing tells good answers", hint="rank them yourself"
        )
    with open_preferences(run) as store:
        judgments = [
            annotator.judge(item, [_gold_reward(town, item.task_id, answer) for answer in item.answers])
            for item in store.items()
            if item.task_id
            for annotator in _judges_of(item.id, annotators, overlap)
        ]
        if not judgments:
            raise DataError("the store has no answers to tasks of the town", hint="`prosa sample` makes some")
        return store.add_judgments(judgments)


def _judges_of(item_id: str, annotators: Sequence[SimulatedAnnotator], overlap: float) -> Sequence[SimulatedAnnotator]:
    if derive_seed(0, f"judged by all {item_id}") < overlap * 2**63:
        return annotators
    return [annotators[derive_seed(0, f"judge of {item_id}") % len(annotators)]]


def read_rankings(run: Path) -> list[RankedAnswers]:
    """All rankings to learn from, annotators weighted by how reliable they are; DataError if there are none.

    Once people have ranked enough, the simulated annotators that stood in for them are no longer heard.
    """
    with open_preferences(run) as store:
        ranked = store.ranked_answers(has_gold=False, has_simulated=not people_rank_enough(store))
    if not ranked:
        raise DataError(f"`{run}` has no rankings yet", hint="`prosa rank` takes them")
    return with_weights(ranked, annotator_weights(ranked))


def train_reward(
    run: Path, life: LifeSettings, *, trunk: str = "", allow_drift: Sequence[str] = (), is_shown: bool = True
) -> FitResult:
    """A reward model in `run/reward` from all judgments of the store, annotators weighted by how reliable they are."""
    folder = Path(trunk) if trunk else run / "sft" / "model"
    ranked = read_rankings(run)
    with open_preferences(run) as store:
        items = store.items()
    references = [
        (item.messages, answer.text)
        for item in items[:_REFERENCE_PROMPTS]
        for answer in item.answers
        if answer.model and not answer.sampling.get("borrowed")
    ]
    with join_world(life.reward.device) as processes:
        result = reward.main(
            run / "reward",
            life.reward,
            folder,
            ranked,
            references=references,
            world=processes,
            allow_drift=allow_drift,
            is_shown=is_shown and processes.is_main,
        )
        if result.is_finished and processes.is_main:
            job = reward.read_job(run / "reward")
            assert job is not None
            outputs = {"model": hash_file(run / "reward" / "model" / "model.safetensors")}
            settings = life.reward.model_dump(mode="json")
            record_stage(run, "reward", settings=settings, inputs=job.inputs, outputs=outputs)
        wait_for_main(processes)
    return result


def evaluate_answers(
    run: Path, *, model: str = "", name: str = "", sampling: Drawing = "greedy", is_shown: bool = True
) -> AssistantReport:
    """The newest stage of a run (or `model`) asked held-out tasks of its town; kept in `evaluation/`, as `name`."""
    town = world_of(read_life(run))
    if town is None:
        raise ConfigError(
            f"`{run}` was not trained on a town, so nothing is known to be true", hint="see docs/world.md"
        )
    base = prosa.load(run / "base") if (run / "base" / "model").is_dir() else None
    report = evaluate_assistant(
        prosa.load(model or run), town, sampling=sampling, base=base, description="answers" if is_shown else ""
    )
    if name or not model:
        name = name or newest_stage(run)
        suffix = "-sampled" if sampling == "sampled" else ""
        write_json_durably(run / "evaluation" / f"{name}{suffix}.json", report.to_json())
    return report


def _gold_reward(town: world.World, task_id: str, answer: Answer) -> float:
    return town.gold_reward(town.task(task_id), answer.text, is_ended=answer.finish_reason == "stop")


def _announce(language: Language, job: sft.Job, device: Device, data: sft.SftData) -> None:
    print_choices(job.choices, device, language=language)
    print_left_out(data.report, "conversations")
