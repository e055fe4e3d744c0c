"""Rankings become a reward model: losses over whole rankings, training, calibration, a report card; docs/reward.md."""

from prosa.reward.batches import (
    EncodedRanking,
    RankedBatches,
    RankingCounts,
    RewardBatch,
    check_pad,
    encode_answers,
    encode_rankings,
    expand_pairs,
    hash_rankings,
)
from prosa.reward.best_of_n import BestOf, BestOfFit, best_of_n, fit_best_of_n
from prosa.reward.calibration import (
    Bin,
    expected_calibration_error,
    fit_temperature,
    mean_log_loss,
    probabilities,
    reliability,
)
from prosa.reward.card import Balanced, Calibration, HumanCeiling, PairAccuracy, RewardCard, report_card
from prosa.reward.card_table import card_table
from prosa.reward.ensemble import combine_heads, disagreement
from prosa.reward.finishing import Sample, evaluate_rankings
from prosa.reward.folder import RewardFacts, check_reward_tokenizer, load_reward_model, read_facts, save_reward_model
from prosa.reward.losses import LossSettings, agreement, centering, pairwise, plackett_luce, ranking_loss
from prosa.reward.model import RewardModel, read_features, start_reward_model
from prosa.reward.normalisation import Normalisation, normalise
from prosa.reward.scoring import RewardFunction, load_reward
from prosa.reward.train import Job, RewardSettings, hash_trunk, loss, main, read_job

__all__ = [
    "Balanced",
    "BestOf",
    "BestOfFit",
    "Bin",
    "Calibration",
    "EncodedRanking",
    "HumanCeiling",
    "Job",
    "LossSettings",
    "Normalisation",
    "PairAccuracy",
    "RankedBatches",
    "RankingCounts",
    "RewardBatch",
    "RewardCard",
    "RewardFacts",
    "RewardFunction",
    "RewardModel",
    "RewardSettings",
    "Sample",
    "agreement",
    "best_of_n",
    "card_table",
    "centering",
    "check_pad",
    "check_reward_tokenizer",
    "combine_heads",
    "disagreement",
    "encode_answers",
    "encode_rankings",
    "evaluate_rankings",
    "expand_pairs",
    "expected_calibration_error",
    "fit_best_of_n",
    "fit_temperature",
    "hash_rankings",
    "hash_trunk",
    "load_reward",
    "load_reward_model",
    "loss",
    "main",
    "mean_log_loss",
    "normalise",
    "pairwise",
    "plackett_luce",
    "probabilities",
    "ranking_loss",
    "read_facts",
    "read_features",
    "read_job",
    "reliability",
    "report_card",
    "save_reward_model",
    "start_reward_model",
]
