"""People rank the model's answers: judgments and their store, statistics, and what to show next. No torch."""

from prosa.preferences.agreement import (
    Estimate,
    agreement_with,
    kendall_tau_b,
    kendall_w,
    krippendorff_alpha,
    majority_agreement,
    pairwise_agreement,
    ranking_alpha,
    ranking_w,
    self_agreement,
)
from prosa.preferences.bias import BiasTest, length_bias, position_bias
from prosa.preferences.formats import CANNOT_HOLD, ExportReport, write_rankings
from prosa.preferences.human_data import (
    read_essay_br,
    read_hh_pairs,
    read_oasst_ranks,
    read_squality_ranks,
    read_ukp_pairs,
    read_ukp_rankings,
)
from prosa.preferences.importing import add_rankings, export_store, import_file, merge_store, read_rankings
from prosa.preferences.judgments import Answer, Item, Judgment, Message, RankedAnswers, Ranking, check_messages
from prosa.preferences.pairing import PairingSettings, expected_information, next_item
from prosa.preferences.prompts import (
    Prompt,
    SampleSettings,
    gold_ranking,
    prompts_of_conversations,
    prompts_of_tasks,
    read_prompts,
)
from prosa.preferences.reliability import (
    DawidSkene,
    annotator_precisions,
    annotator_weights,
    dawid_skene,
    pair_informedness,
    with_weights,
)
from prosa.preferences.report import describe_judgments, judgments_table
from prosa.preferences.restoring import Restored, check_store, restore_store
from prosa.preferences.sampling import SampleReport, sample_answers, sample_for_ranking, sample_into_store
from prosa.preferences.scores import (
    ModelScore,
    Strengths,
    answer_scores,
    fit_bradley_terry,
    fit_davidson,
    fit_plackett_luce,
    model_scores,
)
from prosa.preferences.simulated import SimulatedAnnotator
from prosa.preferences.splitting import prompt_hash, split_by_prompt
from prosa.preferences.store import PreferenceStore
from prosa.preferences.terminal_ranking import RankingSession, rank_in_terminal

__all__ = [
    "CANNOT_HOLD",
    "Answer",
    "BiasTest",
    "DawidSkene",
    "Estimate",
    "ExportReport",
    "Item",
    "Judgment",
    "Message",
    "ModelScore",
    "PairingSettings",
    "PreferenceStore",
    "Prompt",
    "RankedAnswers",
    "Ranking",
    "RankingSession",
    "Restored",
    "SampleReport",
    "SampleSettings",
    "SimulatedAnnotator",
    "Strengths",
    "add_rankings",
    "agreement_with",
    "annotator_precisions",
    "annotator_weights",
    "answer_scores",
    "check_messages",
    "check_store",
    "dawid_skene",
    "describe_judgments",
    "expected_information",
    "export_store",
    "fit_bradley_terry",
    "fit_davidson",
    "fit_plackett_luce",
    "gold_ranking",
    "import_file",
    "judgments_table",
    "kendall_tau_b",
    "kendall_w",
    "krippendorff_alpha",
    "length_bias",
    "majority_agreement",
    "merge_store",
    "model_scores",
    "next_item",
    "pair_informedness",
    "pairwise_agreement",
    "position_bias",
    "prompt_hash",
    "prompts_of_conversations",
    "prompts_of_tasks",
    "rank_in_terminal",
    "ranking_alpha",
    "ranking_w",
    "read_essay_br",
    "read_hh_pairs",
    "read_oasst_ranks",
    "read_prompts",
    "read_rankings",
    "read_squality_ranks",
    "read_ukp_pairs",
    "read_ukp_rankings",
    "restore_store",
    "sample_answers",
    "sample_for_ranking",
    "sample_into_store",
    "self_agreement",
    "split_by_prompt",
    "with_weights",
    "write_rankings",
]
