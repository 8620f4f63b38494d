"""What changes training batches at random."""

from torch import nn


class Augmentation(nn.Module):
    """Base of what changes training batches at random: `forward(inputs, targets, num_classes)` → inputs, targets.

    Randomness comes from torch's global generator, which is seeded again for every batch: a resume repeats it.
    """
