"""Loads of experts by drawing tokens: what closed forms of routing are compared with."""

import numpy as np


def draw(logits, k, batch, rounds, rng):
    """[rounds, experts] loads of batches whose tokens each take their top k of noisy logits."""
    experts = len(logits)
    noisy = logits + rng.gumbel(size=(rounds, batch, experts))
    chosen = np.argpartition(-noisy, k - 1, axis=2)[:, :, :k].reshape(rounds, -1)
    return np.stack([np.bincount(row, minlength=experts) for row in chosen])
