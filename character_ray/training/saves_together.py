"""A checkpoint that counts holds the files of all workers."""

from transformers import Trainer

__all__ = ["SavesTogether"]


class SavesTogether(Trainer):
    """Base of our trainers: the first worker waits for the others before it says that a checkpoint is complete.

    transformers lets it write ``trainer_state.json``, and drop the checkpoint before, while the others still write their random
    state: a node lost in that moment would leave a checkpoint that no training can go on from, and no other.
    """

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()
