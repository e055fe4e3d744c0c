"""How the policy learns from its reward; 0 (or an empty text) means chosen by the algorithm or the machine."""

from typing import Any, Literal

from pydantic import Field, model_validator

from prosa.config import Settings

Algorithm = Literal["ppo", "grpo", "rloo"]

# What each algorithm is known to work with; its papers are named in docs/rl.md.
_GROUPS: dict[str, Any] = {"prompts_per_step": 32, "answers_per_prompt": 8, "update_epochs": 1}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "ppo": {"prompts_per_step": 64, "answers_per_prompt": 4, "update_epochs": 1, "kl_in": "reward"},
    "grpo": _GROUPS | {"kl_in": "loss", "advantage": "grpo"},
    "rloo": _GROUPS | {"kl_in": "reward", "advantage": "rloo"},
}


class RlSettings(Settings):
    """What is asked, what an answer is worth, and how far the policy may go for it."""

    algorithm: Algorithm = "ppo"
    """`ppo` (a critic judges every token), `grpo` or `rloo` (answers to one prompt judge each other)."""
    reward: str = Field(default="model", min_length=1)
    """`model` (the run's reward model), a folder of one, `world` (the town's own checker) or `file.py:function`."""
    gold: str = ""
    """What an answer is really worth, to watch for over-optimisation: as `reward`; empty: the town's checker if any."""
    prompts: str = Field(default="world:", min_length=1)
    """`world:`, a file or folder of conversations or prompts, or `hf:owner/name[:config][:split]`."""
    n_prompts: int = Field(default=2000, ge=1)
    """At most so many; of the town's tasks different ones."""
    prompts_per_step: int = Field(default=0, ge=0, le=1_000_000)
    """Prompts answered with one and the same policy."""
    answers_per_prompt: int = Field(default=0, ge=0, le=1024)
    """Answers to each of them."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    """Divides the logits in sampling, in the reference and in the update alike."""
    max_new_tokens: int = Field(default=48, ge=1, le=2**20)
    """Tokens of an answer at most."""
    unended_penalty: float = Field(default=1.0, ge=0)
    """Taken from the score of an answer that does not end."""
    score_clip: float = Field(default=5.0, ge=0)
    """Largest size of a score; 0: any."""
    steps: int = Field(default=0, ge=0, le=10**9)
    """Rounds of answers and updates."""
    minutes: float = Field(default=0.0, ge=0)
    """Instead of steps: train for this long."""
    update_epochs: int = Field(default=0, ge=0, le=100)
    """How often each answer is learned from."""
    minibatches: int = Field(default=4, ge=1, le=10_000)
    """Updates in one pass over the answers of a step."""
    kl_coefficient: float = Field(default=0.15, ge=0, le=1000)
    """The price of a nat of distance from the reference."""
    kl_target: float = Field(default=0.0, ge=0)
    """Nats an answer may be away: the price is then adapted to come to it; 0: the price stays."""
    kl_horizon: int = Field(default=2000, ge=1)
    """The answers it takes to change the price e-fold, times five, as the error counts a fifth at most."""
    kl_in: Literal["", "reward", "loss"] = ""
    """Where the price is paid."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """How it is estimated in the reward."""
    kl_loss: Literal["k2", "k3"] = "k3"
    """How it is estimated in the loss."""
    advantage: Literal["", "grpo", "dr_grpo", "rloo"] = ""
    """How answers to one prompt are compared."""
    averaging: Literal["token", "answer", "constant"] = "token"
    """What counts alike in the loss: each token, each answer (GRPO), or each token over a constant (Dr. GRPO)."""
    drops_unended: bool = False
    """Learn nothing from answers that were cut off (DAPO)."""
    discount: float = Field(default=1.0, gt=0, le=1)
    """Gamma: what a reward one token later is worth."""
    smoothing: float = Field(default=0.95, ge=0, le=1)
    """Lambda of generalised advantage estimation."""
    ratio_clip: float = Field(default=0.2, gt=0)
    """How far an update may move a token's probability, as a ratio: not below 1 - this."""
    ratio_clip_high: float = Field(default=0.0, ge=0)
    """Nor above 1 + this; 0: the same (DAPO: 0.28)."""
    dual_clip: float = Field(default=0.0, ge=0)
    """Bounds the loss of unlikely bad tokens, at 1 or more; 0: none (usual: 3)."""
    value_clip: float = Field(default=0.2, gt=0)
    """How far an update may move a value."""
    value_coefficient: float = Field(default=0.5, ge=0)
    """Weight of the critic's loss."""
    replay_coefficient: float = Field(default=0.0, ge=0)
    """Weight of the loss on the conversations of fine-tuning, learned beside the answers against forgetting."""
    start_share: float = Field(default=0.0, ge=0, le=1)
    """Of the starting weights in the model that is kept: less is learned, and less forgotten (arXiv:2309.06256)."""
    critic_warmup: int = Field(default=4, ge=0)
    """Steps in which only the critic learns."""
    learning_rate: float = Field(default=0.0, ge=0, le=10)
    """Peak rate of AdamW."""
    gradient_clip: float = Field(default=1.0, ge=0)
    """Largest norm of an update's gradient; 0: any."""
    final_fraction: float = Field(default=0.1, ge=0, le=1)
    """Share of the rate that is left at the last step."""
    stops_at_peak: bool = True
    """End when the true worth of answers falls while the reward rises, and keep the policy of the peak."""
    patience: int = Field(default=8, ge=1)
    """Steps after the peak to be sure of it."""
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda|mps)$")
    """Where to compute."""
    dtype: str = Field(default="auto", pattern="^(auto|float32|bfloat16)$")
    """Of the products in updates; answers are written in that of the weights, so float32 keeps both alike."""
    threads: int = Field(default=0, ge=0, le=4096)
    """CPU threads; 0: torch's choice."""
    micro_batch: int = Field(default=0, ge=0, le=1_000_000)
    """Answers computed at once; 0: what fits."""
    save_every: int = Field(default=10, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept."""
    trackers: tuple[str, ...] = ()
    """`tensorboard`, `wandb`."""
    seed: int = 0
    """Draws prompts, answers and the order of updates."""

    def fill(self) -> "RlSettings":
        """These settings with the algorithm's own where none was chosen."""
        chosen = {name: value for name, value in _DEFAULTS[self.algorithm].items() if not getattr(self, name)}
        return self.model_copy(update=chosen)

    @model_validator(mode="after")
    def _check(self) -> "RlSettings":
        if self.dual_clip and self.dual_clip < 1:
            raise ValueError("dual_clip is 0 or at least 1")
        if self.algorithm != "ppo" and self.answers_per_prompt == 1:
            raise ValueError(f"{self.algorithm} compares answers to one prompt: answers_per_prompt is 2 or more")
        return self
