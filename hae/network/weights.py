"""A network from its description and its weights: plain facts and numbers, so that loading one runs nothing that came with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import BadInput
from .hierarchy import HierarchicalNetwork

__all__ = ["read_network", "rebuild"]


def rebuild(network: HierarchicalNetwork, state: Mapping[str, Tensor]) -> HierarchicalNetwork:
    """Fill an empty network with weights by name, in their own type.

    Raises:
        KeyError, RuntimeError: the weights are not those of such a network.
    """
    standard = [state[name] for name in ("input_mean", "input_scale", "output_mean", "output_scale")]
    network.to(state["bottleneck.T"].dtype).scale_by(*standard)  # standardisation has a type of its own
    network.load_state_dict(state)
    return network.eval()


def read_network(spec: Mapping[str, Any], weights: str | os.PathLike) -> HierarchicalNetwork:
    """The default network of `HierarchicalNetwork.spec` with the weights of a safetensors file, in float64 and on the CPU.

    Raises:
        BadInput: the file is no safetensors file, or its weights are not those of such a network.
    """
    try:
        network = rebuild(HierarchicalNetwork.mlp(**spec), load_file(weights))
    except Exception as error:  # safetensors has errors of its own for a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadInput(f"{weights}: not the weights of this network ({reason}); allowed: a file that hae wrote") from None
    return network.to(torch.float64).requires_grad_(False)
