"""Networks and estimators on disk: model.json says what they are, weights.safetensors holds the numbers; nothing is unpickled.

model.json is what counts: it has the digest of its weights. New weights wait under a name of their own until model.json is the new one, so
that whoever loads, also after a kill, gets one save or the other and never numbers of both.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from hae.errors import BadInput
from hae.files import plain, write_json, written_whole
from hae.importance.report import ImportanceReport
from hae.network.hierarchy import HierarchicalNetwork
from hae.network.weights import rebuild
from hae.version import __version__

__all__ = ["load_estimator", "load_members", "load_networks", "save_estimator", "save_networks"]

DESCRIPTION, WEIGHTS, WAITING = "model.json", "weights.safetensors", ".weights-{}.safetensors"
TRIES = 3  # at a folder that is saved to meanwhile
NOT_WRITTEN = {"augment", "network", "feature_weights"}  # functions can't be written; W is among the tensors
FITTED = (
    "n_features_in_",
    "feature_names_in_",
    "explained_variance_ratio_",
    "validation_fve_",
    "validation_loss_",
    "train_fve_",
    "best_epoch_",
    "has_target_",
    "scale_",
)


def save_networks(
    directory: str | Path,
    networks: dict[str, HierarchicalNetwork],
    about: dict,
    tensors: dict[str, Tensor] | None = None,
) -> None:
    """Write networks by name, plain facts about them and further tensors. A network that is not an MLP leaves its weights alone.

    One folder is saved to by one process at a time; others may load from it meanwhile.
    """
    directory = Path(directory)
    specs = {name: network.spec for name, network in networks.items()}
    weights = {
        f"{name}/{key}": value.detach().cpu().contiguous().clone()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    extra = {f"/{key}": value.detach().cpu().contiguous().clone() for key, value in (tensors or {}).items()}
    content = save({**weights, **extra})  # to a file its own writer raises an error of its own where the disk is full
    digest = hashlib.sha256(content).hexdigest()
    with written_whole(directory / WEIGHTS) as partial:
        partial.write_bytes(content)
        with written_whole(directory / WAITING.format(digest)) as copy:
            copy.write_bytes(content)
        write_json(directory / DESCRIPTION, {"weights": digest, "networks": specs, **about})
    for waiting in directory.glob(WAITING.format("*")):  # this one, and those of saves that were killed
        waiting.unlink(missing_ok=True)


def load_networks(
    directory: str | Path, build: Callable[[int, int], HierarchicalNetwork] | None = None
) -> tuple[dict[str, HierarchicalNetwork], dict, dict[str, Tensor]]:
    """What `save_networks` wrote: networks, facts, tensors.

    ``build(n_features, n_targets)`` makes an empty network where model.json has no description of it.

    Raises:
        BadInput: a file is missing or is not one of ours, or ``build`` makes another network than the one that was saved.
    """
    directory = Path(directory)
    try:
        about, content = _of_one_save(directory)
        weights, specs = load(content), dict(about.pop("networks"))
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{error.filename or directory}: no such file; allowed: a folder that a model was saved to") from None
    except Exception as error:  # safetensors and json have errors of their own for a damaged file
        raise BadInput(f"{directory}: not a saved model ({type(error).__name__}: {error})") from None
    networks = {}
    for name, spec in specs.items():
        if spec is None and build is None:
            raise BadInput(f"{directory}: holds the weights of a network of one's own; give load the function that builds it")
        state = {key.removeprefix(f"{name}/"): value for key, value in weights.items() if key.startswith(f"{name}/")}
        try:
            sizes = len(state["input_mean"]), len(state["output_mean"])
            empty = build(*sizes) if spec is None and build is not None else HierarchicalNetwork.mlp(**spec)
            networks[name] = rebuild(empty, state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise BadInput(f"{directory}: the weights are not those of the network {name} ({reason})") from None
    return networks, about, {key[1:]: value for key, value in weights.items() if key.startswith("/")}


def _of_one_save(directory: Path) -> tuple[dict, bytes]:
    """What model.json says and its weights. Raises BadInput for those of another save; a model.json without a digest takes any."""
    for _ in range(TRIES):
        about = json.loads((directory / DESCRIPTION).read_text())
        digest = about.pop("weights", None)
        try:
            content = (directory / WAITING.format(digest)).read_bytes()
        except FileNotFoundError:
            content = (directory / WEIGHTS).read_bytes()
        if digest in (None, hashlib.sha256(content).hexdigest()):
            return about, content
    raise BadInput(f"{directory}: {WEIGHTS} is not the one that {DESCRIPTION} was saved with; allowed: the two files of one save")


def save_estimator(model, directory: str | Path) -> None:
    """Write a fitted `hae.HierarchicalAutoencoder`: its members, parameters, what `fit` found, and importance_ where it was measured."""
    about = {
        "hae_version": __version__,
        "params": {name: plain(value) for name, value in model.get_params(deep=False).items() if name not in NOT_WRITTEN},
        "fitted": {name: plain(getattr(model, name)) for name in FITTED if hasattr(model, name)},
    }
    if model.report_ is not None:
        about["importance"] = json.loads(model.report_.to_json())
    metric = {"metric_root": model.metric_root_, "feature_weights": model.feature_weights}
    tensors = {name: torch.as_tensor(np.asarray(value)) for name, value in metric.items() if value is not None}
    save_networks(directory, {f"member-{i}": network for i, network in enumerate(model.members_)}, about, tensors)


def load_members(directory: str | Path) -> list[HierarchicalNetwork]:
    """The networks of a saved `hae.HierarchicalAutoencoder`, best first: what it takes to look at them, without scikit-learn.

    Raises:
        BadInput: as `load_networks`, or the folder holds networks that are no estimator, such as those of the stage baseline.
    """
    networks, _, _ = load_networks(directory)
    if set(networks) != {f"member-{i}" for i in range(len(networks))} or not networks:
        raise BadInput(f"{directory}: not a saved estimator (its networks are {', '.join(networks) or 'none'}); "
                       "allowed: what HierarchicalAutoencoder.save wrote")
    return [networks[f"member-{i}"].requires_grad_(False) for i in range(len(networks))]


def load_estimator(cls, directory: str | Path, network: Callable[[int, int], HierarchicalNetwork] | None = None):
    """What `save_estimator` wrote, as an instance of the class.

    Raises:
        BadInput: as `load_networks`, or the folder holds networks that are no estimator, such as those of the stage baseline.
    """
    networks, about, tensors = load_networks(directory, network)
    try:
        params = {name: tuple(value) if isinstance(value, list) and name != "cv" else value for name, value in about["params"].items()}
        metric = {name: tensors[name].numpy() if name in tensors else None for name in ("metric_root", "feature_weights")}
        model = cls(**params, network=network, feature_weights=metric["feature_weights"])
        for name in FITTED:
            if name not in about["fitted"]:
                continue
            value, kind = about["fitted"][name], object if name == "feature_names_in_" else None
            setattr(model, name, np.asarray(value, dtype=kind) if isinstance(value, list) else value)
        model.members_ = [networks[f"member-{i}"].requires_grad_(False) for i in range(len(networks))]
        model.network_ = model.members_[0]
        model.metric_root_ = metric["metric_root"]
        model.training_rows_ = model.validation_rows_ = model.held_out_rows_ = None
        model.report_ = ImportanceReport.from_json(json.dumps(about["importance"])) if "importance" in about else None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{directory}: not a saved estimator ({reason}); allowed: what HierarchicalAutoencoder.save wrote") from None
    return model
