"""The policy learns from the reward: PPO, GRPO, RLOO, watched for over-optimisation; docs/rl.md."""

from prosa.rl.advantages import (
    compare_in_groups,
    estimate_advantages,
    estimate_kl,
    last_positions,
    reward_tokens,
    whiten,
)
from prosa.rl.best_of import BestAnswer, choose_best
from prosa.rl.direct import DirectSettings, PolicyAndReference, answer_targets, log_ratios, squared_errors
from prosa.rl.direct import loss as direct_loss
from prosa.rl.direct import main as train_directly
from prosa.rl.direct import read_job as read_direct_job
from prosa.rl.experience import (
    Experience,
    RlBatch,
    RolloutBatches,
    ScoredAnswer,
    describe,
    make_experience,
    token_records,
)
from prosa.rl.policy import ActorCritic, Critic, read_tokens, start_critic
from prosa.rl.rollouts import Answer, EncodedPrompt, PromptCounts, encode_prompts, write_answers
from prosa.rl.settings import RlSettings
from prosa.rl.show import colour_answer, render_record, token_table
from prosa.rl.train import Job, clip_gain, loss, main, read_job
from prosa.rl.watch import Peak, find_peak, reason_to_stop
from prosa.rl.worth import (
    Reward,
    Worth,
    ask_worth,
    load_function,
    open_reward_model,
    worth_by_function,
    worth_by_model,
    worth_by_town,
)

__all__ = [
    "ActorCritic",
    "Answer",
    "BestAnswer",
    "Critic",
    "DirectSettings",
    "EncodedPrompt",
    "Experience",
    "Job",
    "Peak",
    "PolicyAndReference",
    "PromptCounts",
    "Reward",
    "RlBatch",
    "RlSettings",
    "RolloutBatches",
    "ScoredAnswer",
    "Worth",
    "answer_targets",
    "ask_worth",
    "choose_best",
    "clip_gain",
    "colour_answer",
    "compare_in_groups",
    "describe",
    "direct_loss",
    "encode_prompts",
    "estimate_advantages",
    "estimate_kl",
    "find_peak",
    "last_positions",
    "load_function",
    "log_ratios",
    "loss",
    "main",
    "make_experience",
    "open_reward_model",
    "read_direct_job",
    "read_job",
    "read_tokens",
    "reason_to_stop",
    "render_record",
    "reward_tokens",
    "squared_errors",
    "start_critic",
    "token_records",
    "token_table",
    "train_directly",
    "whiten",
    "worth_by_function",
    "worth_by_model",
    "worth_by_town",
    "write_answers",
]
