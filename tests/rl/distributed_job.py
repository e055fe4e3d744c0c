"""A short stage of reinforcement learning, run by torchrun or alone: `python -m tests.rl.distributed_job FOLDER`."""

import sys
from pathlib import Path

from prosa.rl import main
from prosa.training import join_world
from tests.rl.tiny_rl import PROMPTS, open_reward, settings

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with join_world() as world:
        main(
            folder / "rl",
            settings(algorithm=sys.argv[2], steps=4),
            folder / "start",
            PROMPTS,
            open_reward,
            world=world,
            is_shown=False,
        )
