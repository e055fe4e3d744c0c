"""The mixture: how often each source is seen, per token.

Given weights and sizes come in; shares that sum to one, epochs and warnings come out.
"""

from collections.abc import Mapping

from prosa.errors import ConfigError

REPEAT_LIMIT = 4.0


def resolve_weights(given: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Shares of the training tokens, summing to 1.

    If every source has a weight above 0, weights are relative. If some are 0, the others are shares of the whole
    (their sum below 1) and the rest is divided among those of weight 0 by size. Sources without text get nothing.
    Raises ConfigError if given shares leave no room.
    """
    present = {name: weight for name, weight in given.items() if sizes.get(name, 0) > 0}
    natural = [name for name, weight in present.items() if weight == 0]
    taken = sum(present.values())
    if not natural:
        return {name: weight / taken for name, weight in present.items()}
    if taken >= 1:
        raise ConfigError(
            f"the weights sum to {taken:g}, which leaves nothing for {', '.join(f'`{name}`' for name in natural)}",
            hint="give every source a weight, or keep the sum of the given ones below 1",
        )
    total = sum(sizes[name] for name in natural)
    return {name: weight or (1 - taken) * sizes[name] / total for name, weight in present.items()}


def epochs_per_source(n_tokens: Mapping[str, int], weights: Mapping[str, float], total_tokens: int) -> dict[str, float]:
    """How many times each source is read when `total_tokens` are trained on in these shares."""
    return {name: weights.get(name, 0.0) * total_tokens / count for name, count in n_tokens.items() if count > 0}


def repeat_warnings(epochs: Mapping[str, float]) -> list[str]:
    """One sentence for each source repeated more than four times, beyond which repeats teach little.

    (Muennighoff et al., "Scaling Data-Constrained Language Models", 2023, section 5.)
    """
    return [
        f"source `{name}` is read {count:.1f} times; beyond {REPEAT_LIMIT:.0f} repeats teach little: "
        "lower its weight, give it more text or train on fewer tokens"
        for name, count in epochs.items()
        if count > REPEAT_LIMIT
    ]
