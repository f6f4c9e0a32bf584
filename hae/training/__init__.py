"""From rows to a trained network: pairs, gradients, the loop, members, checkpoints, baselines."""
