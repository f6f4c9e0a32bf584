"""Where things lie in a project, said once. Paths are relative to its folder."""

from pathlib import Path

__all__ = ["BASELINE", "FRAMES", "MODELS", "POSITIONS", "PREPARED", "RAW", "RECIPE", "RESULTS", "ROUNDS", "model", "results"]

BASELINE = "baseline"
RAW, ROUNDS, PREPARED, MODELS, RESULTS = Path("data/raw"), Path("data/rounds"), Path("data/prepared"), Path("models"), Path("results")
FRAMES, RECIPE = PREPARED / "frames.parquet", PREPARED / "recipe.json"
POSITIONS = PREPARED / "positions.npy"  # of the test rows, where features do not hold them


def model(name: str) -> Path:
    """The folder of the trained networks of a variant, or of the baselines."""
    return MODELS / name


def results(name: str) -> Path:
    """The folder of what was found of a variant, or of the baselines. Variants have one of their own, which the report depends on."""
    return RESULTS / name if name == BASELINE else RESULTS / "variants" / name
