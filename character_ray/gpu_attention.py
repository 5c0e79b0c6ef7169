"""PyTorch's attention on GPUs without a wait at every new shape of a batch."""

__all__ = ["without_plans"]


def without_plans() -> None:
    """Leave cuDNN out of PyTorch's choice among attention kernels, for the rest of this process.

    Where a mask is given, PyTorch asks cuDNN first on Hopper and Blackwell, which builds a plan for every shape it has not met: about a
    second for a pass forward and backward, as long as hundreds of such passes. Batches of text hardly ever have a shape twice.
    Source: modelscope/FunASR issue 3704.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)
