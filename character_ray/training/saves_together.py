"""A checkpoint that counts holds the files of all workers, and more or fewer may go on from it."""

from pathlib import Path

import numpy as np
from transformers import Trainer, set_seed

__all__ = ["SavesTogether"]


class SavesTogether(Trainer):
    """Base of our trainers: the first worker waits for the others before it says that a checkpoint is complete.

    transformers lets it write ``trainer_state.json``, and drop the checkpoint before, while the others still write their random
    state: a node lost in that moment would leave a checkpoint that no training can go on from, and no other.
    """

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Take up the worker's own random state; where another number of workers wrote the checkpoint draw a new one.

        transformers would go on with the state that the process happens to have, which is that of the first step, and the same on all
        workers. Rows do not depend on it: dropout and what a student samples do.
        """
        rank = self.args.process_index
        own = "rng_state.pth" if self.args.world_size <= 1 else f"rng_state_{rank}.pth"
        if checkpoint is None or (Path(checkpoint) / own).is_file():
            super()._load_rng_state(checkpoint)
        else:
            drawn = np.random.SeedSequence([self.args.seed, self.state.global_step, rank])
            set_seed(int(drawn.generate_state(1)[0]))

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()
