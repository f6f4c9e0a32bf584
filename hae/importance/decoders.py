"""Decoders of frozen CVs: perceptrons of all members and tasks in one stack, hidden layers by Adam, last layers by least squares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hae.data.rows import Rows, pieces_of
from hae.network.layers import MaskedMLP, tanh
from hae.training.perceptrons import Perceptrons, one_vector
from hae.training.schedule import one_cycle

__all__ = ["LITTLE", "DecoderStack", "RefitSettings", "Task"]

MOST_OUTPUTS = 64  # principal components of the target that hidden layers are trained on; the last layer is fitted to all features
CHUNK_ROWS = 2048
Task = tuple[tuple[list[Rows], ...], ...]  # a refit: for each decoder what it reads, pairs of training and evaluation rows (N, width)
LITTLE = 1e8  # multiplications a step, some hundredths of a second: less is not worth a second thread


@dataclass(frozen=True)
class RefitSettings:
    """Decoders of ``hidden`` units, ``steps`` of Adam on ``batch_size`` rows, then the last layer by least squares.

    rows: training rows used, evenly spread over those given; ridge: how firmly the last layer is held where its features are weak.

    Example:
        >>> RefitSettings(hidden=(16,), steps=100).stronger(3)
        RefitSettings(hidden=(32,), steps=300, batch_size=64, learning_rate=0.02, rows=8192, ridge=0.001, seed=0)
    """

    hidden: tuple[int, ...] = (32, 32)
    steps: int = 800
    batch_size: int = 64
    learning_rate: float = 2e-2
    rows: int = 8192
    ridge: float = 1e-3
    seed: int = 0

    def stronger(self, times: int) -> RefitSettings:
        """Hidden layers twice as wide, and so many times the steps."""
        return replace(self, hidden=tuple(2 * width for width in self.hidden), steps=times * self.steps)


class DecoderStack:
    """Perceptrons of M members x R decoders, x (M, R, N, width) zero-padded; the outputs of a task's decoders add up.

    tasks: M members with T tasks each. target: for every member (N, D), NaN where an entry is missing. weights: (N,) of each, or None.

    Example: y = x^2 is learned from x, and is asked at one other place.
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> stack = DecoderStack([[((([x, np.array([[0.5]])]),),)]], [x**2], None, RefitSettings(steps=200), torch.device("cpu"))
        >>> stack.train(None)
        >>> (error,) = stack.errors(0, np.array([[0.25]]))
        >>> bool(error.item() < 1e-3)
        True
    """

    def __init__(self, tasks, target, weights, settings, device):
        self.settings, self.device = settings, device
        shape = [len(task) for task in tasks[0]]
        self.task_of = torch.repeat_interleave(torch.arange(len(shape)), torch.tensor(shape)).to(device)
        self.decoders = [[d for task in member for d in task] for member in tasks]
        self.width = max(sum(c[0].shape[1] for c in d) for member in self.decoders for d in member)
        self.x = torch.stack([self.inputs(m, 0) for m in range(len(tasks))])
        self.y: list[Tensor] = []
        self.mean: list[Tensor] = []
        self.back: list[Tensor] = []  # from components to features
        self.observed: list[Tensor | None] = []
        self.variance: list[Tensor] = []
        ones = torch.ones(self.x.shape[2], dtype=torch.float64, device=device)
        self.w = torch.stack(
            [ones if weights is None or weights[m] is None else self.tensor(weights[m] / np.mean(weights[m])) for m in range(len(tasks))]
        )
        z = []
        for m, rows in enumerate(target):
            observed = None if not np.isnan(rows).any() else self.tensor(~np.isnan(rows))
            rows = self.tensor(np.nan_to_num(rows))
            known = self.w[m][:, None] * (torch.ones_like(rows) if observed is None else observed)
            mean = (known * rows).sum(0) / known.sum(0).clamp(min=1e-300)
            y = rows - mean if observed is None else (rows - mean) * observed
            scatter = y.mT @ (self.w[m][:, None] * y) / len(rows)
            variances, axes = torch.linalg.eigh(scatter)
            keep = min(MOST_OUTPUTS, len(mean))
            axes = axes[:, -keep:] / variances.clamp(min=0).sum().clamp(min=1e-300).sqrt() * keep**0.5
            z.append(y @ axes)  # mean variance 1
            self.back.append(torch.linalg.pinv(axes))
            self.y.append(y)
            self.mean.append(mean)
            self.observed.append(observed)
            self.variance.append(variances.sum())
        self.z = torch.stack(z)
        members, decoders = self.x.shape[:2]
        self.net = MaskedMLP(self.width, self.z.shape[-1], settings.hidden, "tanh", (members, decoders)).to(device, torch.float64)
        self.start()

    def tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float64, device=self.device)

    def inputs(self, m: int, side: int, rows: slice = slice(None)) -> Tensor:
        """(R, N, width) of one member, training (0) or evaluation (1) rows."""
        parts = [np.concatenate([c[side][rows] for c in d], axis=1) for d in self.decoders[m]]
        return self.tensor(np.stack([np.pad(p, ((0, 0), (0, self.width - p.shape[1]))) for p in parts]))

    @torch.no_grad()
    def start(self) -> None:
        """One start for all: Glorot's, drawn for one decoder. A column of zeros adds nothing, so tasks differ in what they are given."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        for layer in self.net.layers:
            layer.reset(generator, (0, 0), layer.weight.shape[-2])
            layer.weight.copy_(layer.weight[0, 0].clone())

    @property
    def work(self) -> float:
        """Multiplications of a step forward."""
        return float(self.settings.batch_size * sum(layer.weight.numel() for layer in self.net.layers))

    def hidden(self, x: Tensor, m: int) -> Tensor:
        """Last hidden units (R, N, h) of member m of x (R, N, width)."""
        for layer in self.net.layers[:-1]:
            x = tanh(x @ layer.weight[m] + layer.bias[m])
        return x

    @torch.no_grad()  # gradients are written out
    def train(self, progress: str | None) -> None:
        s, n = self.settings, self.x.shape[2]
        size = min(s.batch_size, n)
        generator = torch.Generator().manual_seed(s.seed + 1)
        optimiser = torch.optim.Adam([one_vector(self.net)], lr=s.learning_rate, betas=(0.9, 0.99), fused=True)
        members, decoders = self.x.shape[:2]
        perceptrons = Perceptrons(self.net, members * decoders, size)
        x, n_tasks = self.x.flatten(0, 1).mT.contiguous(), int(self.task_of[-1]) + 1
        rates = one_cycle(s.learning_rate, s.steps + 1, 0.1)[: s.steps]
        for rate in tqdm(rates, desc=progress, disable=progress is None, unit="step", mininterval=0.5):
            batch = torch.randint(n, (size,), generator=generator).to(self.device)
            out = perceptrons.forward(x[..., batch]).view(members, decoders, -1, size)
            if n_tasks < decoders:
                out = out.new_zeros(members, n_tasks, *out.shape[2:]).index_add_(1, self.task_of, out)
            slope = self.slope(out, batch).mul_(self.w[:, None, None, batch] / size)
            perceptrons.backward(slope if n_tasks == decoders else slope[:, self.task_of])
            optimiser.param_groups[0]["lr"] = rate
            optimiser.step()

    def slope(self, out: Tensor, batch: Tensor) -> Tensor:
        """Of the squared error by outputs (M, T, P, B) at training rows: its mean over components, of what is observed alone where
        entries miss."""
        slopes = []
        for m, observed in enumerate(self.observed):
            if observed is None:
                slopes.append((out[m] - self.z[m, batch].mT).mul_(2 / out.shape[2]))
            else:  # the same error, of the features that the components make
                left = (self.back[m].mT @ out[m] - self.y[m][batch].mT) * observed[batch].mT
                slopes.append(self.back[m] @ left * (2 / self.variance[m].clamp(min=1e-300)))
        return torch.stack(slopes)

    def errors(self, m: int, target: Rows) -> Iterator[np.ndarray]:
        """(T, N') of member m, its last layers solved for, a piece of the rows at a time."""
        with torch.no_grad():
            readouts = self.readouts(m)

        @torch.no_grad()
        def of(rows: slice) -> np.ndarray:
            y = self.tensor(target[rows]) - self.mean[m]
            h = self.hidden(self.inputs(m, 1, rows), m)
            errors = [(self.features(h, t) @ last - y).nan_to_num().square().mean(-1) for t, last in enumerate(readouts)]
            return torch.stack(errors).cpu().numpy()

        return map(of, pieces_of(len(target), CHUNK_ROWS))

    def features(self, h: Tensor, task: int) -> Tensor:
        """(N, F): hidden units of the decoders of a task, and 1."""
        own = h[self.task_of == task]
        return torch.cat([*own, torch.ones_like(own[0, :, :1])], dim=-1)

    def readouts(self, m: int) -> list[Tensor]:
        """Last layers (F, D), one a task: argmin |y - h W|^2 / N + ridge |W - W_trained|^2 (ridge per unit of the features' power)."""
        layer = self.net.layers[-1]
        h = self.hidden(self.x[m], m)
        out = []
        for t in range(int(self.task_of[-1]) + 1):
            own = self.task_of == t
            trained = torch.cat([*layer.weight[m, own], layer.bias[m, own].sum(0)]) @ self.back[m]
            H = self.features(h, t)
            observed = self.observed[m]
            if observed is None:
                out.append(self.solved(H, self.w[m], self.y[m], trained))
            else:  # every feature has rows of its own
                columns = zip(observed.mT * self.w[m], self.y[m].mT, trained.mT)
                out.append(torch.stack([self.solved(H, w, y, start) for w, y, start in columns], dim=1))
        return out

    def solved(self, H: Tensor, weights: Tensor, y: Tensor, trained: Tensor) -> Tensor:
        weighted = H * weights[:, None] / len(H)
        gram = weighted.mT @ H
        power = gram.diagonal().mean().clamp(min=1e-12)  # a feature that no row has keeps the trained layer
        hold = self.settings.ridge * power * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        return torch.linalg.solve(gram + hold, weighted.mT @ y + hold @ trained)
