"""A model together with its tokenizer: what `prosa.load` returns, and where text meets token ids."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch
from jaxtyping import Float
from torch import Tensor

from prosa.checkpoint import load_checkpoint
from prosa.config import resolve_settings
from prosa.errors import ConfigError, DataError, ModelFileRefused
from prosa.generate.chat import fit_chat
from prosa.generate.compiled import CompiledSteps, Rows, halve_matrices
from prosa.generate.engine import FinishReason, Row, make_rows, write
from prosa.generate.explain import Candidate, ExplainedStep, explain_step, list_candidates
from prosa.generate.sampling import Sampler, Sampling
from prosa.model import ModelSettings, Transformer, load_model
from prosa.tokenizer import Tokenizer

# The stages that write, newest first.
STAGES = ("policy", "sft", "base")


@dataclass(frozen=True, slots=True)
class Completion:
    """What was written after a prompt.

    ids: every token drawn, including a final stop token; text: theirs, up to a stop string; logprobs: of each id in
    the model's own distribution (before temperature, penalties and cuts); top_logprobs: (id, logprob) of the
    likeliest at each step, if asked for; finish_reason: "stop" (token or string), "length" or "context".
    """

    ids: list[int]
    text: str
    logprobs: list[float]
    finish_reason: FinishReason
    top_logprobs: list[list[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class Score:
    """How probable the model finds a completion: its ids, the log-probability of each and their sum, in nats."""

    ids: list[int]
    logprobs: list[float]
    total: float


class LanguageModel:
    """Writes, chats, completes, scores and explains; `sampling` keywords are the fields of `Sampling`."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
        if tokenizer.vocab_size > model.settings.vocab_size:
            raise ModelFileRefused(
                f"the tokenizer has {tokenizer.vocab_size} tokens, the model {model.settings.vocab_size}",
                hint="they belong to different runs",
            )
        self.model = model
        self.tokenizer = tokenizer
        self.steps = CompiledSteps(model)

    def compile(self, rows: Rows = "one", *, waits: bool = False) -> None:
        """Makes decoding two to five times as fast, from about twenty seconds on: it is compiled in the background.

        rows: for "one" text at a time or for "many" together; waits: returns when it is done, and raises ConfigError
        if it cannot be done. Texts stay the same in float32, up to the rounding of logits.
        """
        if waits:
            self.steps.wait(rows)
        else:
            self.steps.start(rows)

    @overload
    def generate(self, prompt: str, *, stream: Literal[True], **sampling: Any) -> Iterator[str]: ...
    @overload
    def generate(self, prompt: str, *, n: int, **sampling: Any) -> list[str]: ...
    @overload
    def generate(self, prompt: str, **sampling: Any) -> str: ...
    @overload
    def generate(self, prompt: list[str] | tuple[str, ...], *, n: int, **sampling: Any) -> list[list[str]]: ...
    @overload
    def generate(self, prompt: list[str] | tuple[str, ...], **sampling: Any) -> list[str]: ...

    def generate(
        self, prompt: str | Sequence[str], *, stream: bool = False, n: int | None = None, **sampling: Any
    ) -> str | list[str] | list[list[str]] | Iterator[str]:
        """The text that follows a prompt, without the prompt; for several prompts a list, with `n` a list for each.

        stream: pieces of text as they become certain, for one prompt. Raises ConfigError for an unknown or impossible
        setting before anything is computed.
        """
        settings = _resolve(sampling if n is None else sampling | {"n": n})
        if stream:
            if not isinstance(prompt, str) or n is not None:
                raise ConfigError("only one text of one prompt can be streamed")
            return self._stream(self._one_row(self.encode_prompt(prompt), settings))
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        completions = self.complete([self.encode_prompt(text) for text in prompts], settings)
        texts = [[completion.text for completion in samples] for samples in completions]
        of_each: list[Any] = texts if n is not None else [samples[0] for samples in texts]
        return of_each[0] if isinstance(prompt, str) else of_each

    @overload
    def chat(
        self, messages: Sequence[Mapping[str, str]], *, stream: Literal[True], **sampling: Any
    ) -> Iterator[str]: ...
    @overload
    def chat(
        self, messages: Sequence[Mapping[str, str]], *, stream: Literal[False] = False, **sampling: Any
    ) -> str: ...

    def chat(
        self, messages: Sequence[Mapping[str, str]], *, stream: bool = False, **sampling: Any
    ) -> str | Iterator[str]:
        """The assistant's answer to a conversation, up to its <|im_end|>; `stream`: in pieces as they become certain.

        `messages` have `role` and `content`; see `encode_chat` for what is refused or left out.
        """
        settings = _resolve(sampling)
        ids = self.encode_chat(messages, max_new_tokens=settings.max_new_tokens)
        pieces = self._stream(self._one_row(ids, settings))
        return pieces if stream else "".join(pieces)

    def complete(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling | Sequence[Sampling]
    ) -> list[list[Completion]]:
        """For each prompt, given as ids, its `n` completions; one `Sampling` for all prompts or one for each."""
        settings = [sampling] * len(prompts) if isinstance(sampling, Sampling) else list(sampling)
        if len(settings) != len(prompts):
            raise ConfigError(f"{len(prompts)} prompts but {len(settings)} samplings")
        rows = make_rows(self.tokenizer, prompts, settings, self.model.settings.context_length)
        # Rows of similar length together waste the least; no row's text depends on its company.
        by_length = sorted(rows, key=lambda row: row.n_prompt)
        for _ in write(self.model, self.tokenizer, by_length, steps=self.steps):
            pass
        completions: list[list[Completion]] = [[] for _ in prompts]
        for row in rows:
            completions[row.prompt_index].append(_complete(row))
        return completions

    def explain(self, prompt: str, **sampling: Any) -> Iterator[ExplainedStep]:
        """Writes on, showing before each token what could have come; render a step with `render_step`."""
        return self._explain(self._one_row(self.encode_prompt(prompt), _resolve(sampling)))

    def next_token(self, text: str, **sampling: Any) -> list[Candidate]:
        """Every token that could follow, likeliest first; `sampling_probability` is its chance under `sampling`."""
        row = self._one_row(self.encode_prompt(text), _resolve({"temperature": 1.0} | sampling))
        settings, context_length = row.sampling, self.model.settings.context_length
        logits = self._logits(row.ids[-context_length:])[-1:]
        scores = Sampler([settings], [row.ids], logits.shape[1]).scores(logits)
        return list_candidates(self.tokenizer, logits[0], scores[0])

    def score(self, prompt: str, completion: str) -> Score:
        """Log-probabilities, in nats, of the tokens of `completion` after `prompt`.

        The two are encoded apart; a prompt too long for the context loses its beginning. Raises DataError if the
        completion alone is too long or has no tokens.
        """
        completion_ids, context_length = self.tokenizer.encode(completion), self.model.settings.context_length
        if not 0 < len(completion_ids) <= context_length:
            raise DataError(f"a completion of {len(completion_ids)} tokens, the context holds 1 to {context_length}")
        ids = (self.encode_prompt(prompt) + completion_ids)[-context_length - 1 :]
        logprobs = self._logits(ids[:-1])[-len(completion_ids) :].log_softmax(-1)
        chosen = logprobs.gather(1, torch.tensor(completion_ids)[:, None])[:, 0]
        return Score(completion_ids, chosen.tolist(), float(chosen.double().sum()))

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a prompt; the empty one is <|endoftext|>, after which documents begin."""
        return self.tokenizer.encode(text) or [self.tokenizer.end_of_text_id]

    def encode_chat(self, messages: Sequence[Mapping[str, str]], *, max_new_tokens: int = 128) -> list[int]:
        """Ids of a conversation up to where the assistant begins to answer, with room for `max_new_tokens`.

        Warns if the oldest turns had to be left out; raises DataError for messages out of order or without text, or if
        the last question is longer than the context.
        """
        context_length = self.model.settings.context_length
        fitted = fit_chat(self.tokenizer, messages, context_length, max_new_tokens)
        if fitted.n_dropped:
            # The same words each time, so that Python says them once.
            warnings.warn(
                f"a conversation exceeds the context of {context_length} tokens: its oldest turns are left out",
                stacklevel=2,
            )
        return fitted.ids

    def _one_row(self, prompt: Sequence[int], settings: Sampling) -> Row:
        if settings.n != 1:
            raise ConfigError("n must be 1 here")
        [row] = make_rows(self.tokenizer, [prompt], [settings], self.model.settings.context_length)
        return row

    def _stream(self, row: Row) -> Iterator[str]:
        return (drawn.piece for [drawn] in write(self.model, self.tokenizer, [row], steps=self.steps) if drawn.piece)

    def _explain(self, row: Row) -> Iterator[ExplainedStep]:
        for [drawn] in write(self.model, self.tokenizer, [row], keeps_scores=True, steps=self.steps):
            yield explain_step(self.tokenizer, drawn)

    @torch.inference_mode()
    def _logits(self, ids: Sequence[int]) -> Float[Tensor, "T V"]:
        """Logits after each position, of the tokenizer's tokens."""
        was_training = self.model.training
        self.model.eval()
        device = self.model.unembedding.device
        logits: Tensor = self.model(torch.tensor([list(ids)], device=device))[0, :, : self.tokenizer.vocab_size]
        self.model.train(was_training)
        return logits.float().cpu()


def load(path: str | Path, *, dtype: Literal["float32", "bfloat16"] = "float32") -> LanguageModel:
    """The language model of a run (its newest stage), a stage, a checkpoint's step folder or any Hugging Face folder.

    dtype: of its matrices; bfloat16 takes half of the memory, and nearly half of the time once `compile` is done, but
    rounds: a text may differ from float32's, and between the plain and the compiled way to write it.

    Raises ModelFileRefused if there is none or it cannot be trusted, CheckpointError for a damaged checkpoint.
    """
    llm = _open(Path(path))
    if dtype == "bfloat16":
        halve_matrices(llm.model)
    elif dtype != "float32":
        raise ConfigError(f"dtype is {dtype!r}, not float32 or bfloat16")
    return llm


def _open(folder: Path) -> LanguageModel:
    if (folder / "state.json").is_file():
        return _load_checkpoint(folder)
    for candidate in (folder, folder / "model", *(folder / stage / "model" for stage in STAGES)):
        if (candidate / "config.json").is_file():
            return LanguageModel(load_model(candidate), Tokenizer.load(candidate))
    if not folder.is_dir():
        hint = f"did you mean `{Path('runs') / folder}`?" if (Path("runs") / folder).is_dir() else ""
        raise ModelFileRefused(f"`{folder}` does not exist", hint=hint)
    newest = max([*folder.glob("checkpoints/step-*"), *folder.glob("base/checkpoints/step-*")], default=None)
    raise ModelFileRefused(
        f"`{folder}` holds no model",
        hint=f"training has not finished; its newest checkpoint is `{newest}`"
        if newest
        else "give a run or a model folder",
    )


def newest_stage(run: Path) -> str:
    """The stage of a run whose model `load` opens; ModelFileRefused if none is finished."""
    for stage in STAGES:
        if (run / stage / "model" / "config.json").is_file():
            return stage
    raise ModelFileRefused(f"`{run}` holds no finished model", hint="`prosa run` makes one")


def _load_checkpoint(folder: Path) -> LanguageModel:
    """A step folder inside RUN/STAGE/checkpoints, with the tokenizer of its run."""
    checkpoint = load_checkpoint(folder)
    settings = resolve_settings(ModelSettings, checkpoint.fingerprint["settings"]["model"], origin=f"`{folder}`")
    model = Transformer(settings)
    model.load_state_dict(checkpoint.tensors["model"])
    tokenizer = folder.absolute().parents[2] / "tokenizer"
    return LanguageModel(model.eval(), Tokenizer.load(tokenizer))


def _resolve(sampling: Mapping[str, Any]) -> Sampling:
    return resolve_settings(Sampling, sampling, origin="sampling")


def _complete(row: Row) -> Completion:
    assert row.finish_reason is not None
    return Completion(row.ids[row.n_prompt :], row.text, row.logprobs, row.finish_reason, row.top_logprobs)
