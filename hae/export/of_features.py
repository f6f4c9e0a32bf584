"""The encoder for programs that know features, not atoms: NumPy, ONNX, TorchScript."""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hae.errors import BadInput
from hae.export.card import Card, write_card
from hae.export.encoder import Encoder
from hae.export.script import arrays_of, script
from hae.files import written_whole
from hae.network import bottleneck
from hae.network.kinds import PERIODS
from hae.network.layers import ACTIVATIONS

__all__ = ["write_numpy", "write_onnx", "write_torchscript"]

# As the network's own; a norm of simple operations, which every runtime has.
SQUASH = bottleneck.SQUASH | {"circular": lambda pre: pre / (pre * pre).sum(1, keepdim=True).sqrt().clamp_min(1e-12)}


class _Published(nn.Module):
    """An encoder as a module: features (N, D) in raw units -> (N, n) CVs, or (N, C) with the cosine and sine of each circular CV."""

    def __init__(self, encoder: Encoder, angles: bool, dtype: torch.dtype):
        super().__init__()
        self.kinds, self.columns, self.angles, self.activation = encoder.kinds, encoder.columns, angles, ACTIVATIONS[encoder.activation]
        if encoder.activation == "tanh":
            self.activation = torch.tanh
        arrays = {"mean": encoder.mean, "scale": encoder.scale, "T": encoder.T, "t": encoder.t}
        arrays |= {f"{name}{i}": value for i, pair in enumerate(encoder.layers) for name, value in zip("wb", pair)}
        arrays |= {} if encoder.path is None else {"path": encoder.path}
        for name, value in arrays.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=dtype))
        self.depth, self.has_path = len(encoder.layers), encoder.path is not None

    def forward(self, s):
        x = (s - self.mean) / self.scale
        y = x
        for i in range(self.depth):
            y = y @ self.get_buffer(f"w{i}") + self.get_buffer(f"b{i}")
            y = self.activation(y) if i < self.depth - 1 else y
        y = y + x @ self.get_buffer("path") if self.has_path else y
        parts = [SQUASH[kind](y[:, at]) for kind, at in zip(self.kinds, self.columns)]
        c = torch.cat(parts, 1) @ self.get_buffer("T").mT + self.get_buffer("t")
        return torch.cat([torch.atan2(c[:, at][:, 1:], c[:, at][:, :1]) if self.angles and PERIODS[kind] else c[:, at]
                          for kind, at in zip(self.kinds, self.columns)], 1)  # fmt: skip


def write_numpy(encoder: Encoder, card: Card, folder: str | os.PathLike) -> list[Path]:
    """Write weights.npz, card.json and cvs.py (`hae.export.script`), whose function ``cvs(table)`` gives CVs (N, n) by NumPy alone."""
    folder = Path(folder)
    with written_whole(folder / "weights.npz") as partial, open(partial, "wb") as file:
        np.savez(file, **arrays_of(encoder, card))  # type: ignore[arg-type]
    with written_whole(folder / "cvs.py") as partial:
        partial.write_text(script(encoder, card), encoding="utf-8")
    return [folder / "weights.npz", folder / "cvs.py", write_card(card, folder)]


def write_onnx(encoder: Encoder, card: Card, folder: str | os.PathLike) -> list[Path]:
    """Write cvs.onnx: input features (N, D), output cvs (N, n), float32, since runtimes lack some functions in
    float64; the card is in its metadata too.

    Raises BadInput where onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise BadInput("onnx: not installed; allowed: pip install 'hae[export]'") from None
    path = Path(folder) / "cvs.onnx"
    module = _Published(encoder, True, torch.float32).eval()
    rows = torch.zeros(2, encoder.n_features) + module.get_buffer("mean")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses packages that nothing here needs
    with warnings.catch_warnings(), written_whole(path) as partial:
        warnings.simplefilter("ignore")
        program = torch.onnx.export(module, (rows,), input_names=["features"], output_names=["cvs"], dynamo=True, verbose=False,
                                    dynamic_shapes=({0: torch.export.Dim("rows")},))  # fmt: skip
        assert program is not None  # it is None where a file was asked for
        made = program.model_proto
        onnx.helper.set_model_props(made, {"hae": json.dumps(card.to_dict())})
        onnx.checker.check_model(made)
        onnx.save(made, str(partial))
    return [path, write_card(card, Path(folder))]


def write_torchscript(encoder: Encoder, card: Card, folder: str | os.PathLike) -> list[Path]:
    """Write cvs.ptc, for PLUMED's PYTORCH_MODEL: float32, features (1, D) -> (1, C), which has no periods, so a circular CV is its
    cosine and sine there (CUSTOM FUNC=atan2(y,x) PERIODIC=-pi,pi makes it an angle again)."""
    path = Path(folder) / "cvs.ptc"
    module = _Published(encoder, False, torch.float32).eval()
    rows = torch.zeros(1, encoder.n_features) + module.get_buffer("mean")
    with warnings.catch_warnings(), written_whole(path) as partial:
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, rows), str(partial), _extra_files={"card.json": json.dumps(card.to_dict())})
    return [path, write_card(card, Path(folder))]
