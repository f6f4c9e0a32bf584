"""The loop back into simulation: a round of biased sampling, rounds and retraining in turns, free energies from all rounds."""
