"""A step that never leaves the device: batch, rate, forward, backward and Adam from counters there, on CUDA as one captured graph."""

from collections.abc import Callable

import torch
from torch import Tensor

from hae.training.rows import Rows

__all__ = ["ResidentStep"]

WARM_UP = 3  # steps before a capture, in which libraries choose their kernels and optimisers make their state


class ResidentStep:
    """Runs an epoch's steps without the host: nothing is read back, and a step is one launch where it could be captured.

    Args:
        data: rows on the device. order: (M, steps, B) row numbers of an epoch, changed in place by `epoch`.
        rates: learning rate of every step of the training.
        optimiser: its groups' "lr" must be the tensor ``rate``; capturable on CUDA.
        errors_of: takes a batch, runs forward and backward, and gives E_k (M, n).
        capture: record the step as a CUDA graph; without it the same step runs operation by operation, on any device.

    Example:
        One weight learns the mean of 4 rows, two steps an epoch.

        >>> x = torch.tensor([[1.0], [2.0], [3.0], [4.0]])  # (N, D)
        >>> weight, rate = torch.nn.Parameter(torch.zeros(1)), torch.tensor(0.0)
        >>> optimiser = torch.optim.SGD([weight], lr=rate)
        >>> def errors_of(batch):
        ...     optimiser.zero_grad()
        ...     error = (batch.targets - weight).square().mean((1, 2))
        ...     error.sum().backward()
        ...     return error.detach()[:, None]
        >>> step = ResidentStep(Rows(x, x), (1, 2, 2), [0.2] * 40, rate, optimiser, errors_of, 1, capture=False)
        >>> order = torch.tensor([[[0, 3], [1, 2]]])
        >>> for number in range(20):
        ...     total = step.epoch(order, first_step=2 * number)
        >>> round(float(weight.detach()), 3), round(float(total), 3)
        (2.5, 2.5)
    """

    def __init__(
        self,
        data: Rows,
        order_shape: tuple[int, int, int],
        rates: list[float],
        rate: Tensor,
        optimiser: torch.optim.Optimizer,
        errors_of: Callable[[Rows], Tensor],
        n_levels: int,
        *,
        capture: bool,
    ):
        device = data.inputs.device
        self.data, self.optimiser, self.errors_of, self.rate, self.capture = data, optimiser, errors_of, rate, capture
        self.order = torch.zeros(order_shape, dtype=torch.long, device=device)
        self.rates = torch.tensor(rates, dtype=rate.dtype, device=device)
        self.step_of_epoch = torch.zeros(1, dtype=torch.long, device=device)
        self.step_of_training = torch.zeros(1, dtype=torch.long, device=device)
        self.total = torch.zeros(order_shape[0], n_levels, dtype=data.inputs.dtype, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def epoch(self, order: Tensor, first_step: int) -> Tensor:
        """Sum of E_k over the steps of an epoch, (M, n). order: (M, steps, B) on any device; first_step: number of steps before."""
        if self.capture and self.graph is None:
            self._record()
        self.order.copy_(order, non_blocking=True)
        self._rewind(first_step)
        for _ in range(order.shape[1]):
            if self.graph is None:
                self._step()
            else:
                self.graph.replay()
        return self.total.clone()

    def _step(self) -> None:
        rows = self.order.index_select(1, self.step_of_epoch).squeeze(1)
        self.rate.copy_(self.rates.index_select(0, self.step_of_training).squeeze(0))
        self.total += self.errors_of(self.data.take(rows))
        self.optimiser.step()
        self.step_of_epoch += 1
        self.step_of_training += 1

    def _rewind(self, first_step: int) -> None:
        self.step_of_epoch.zero_()
        self.step_of_training.fill_(first_step)
        self.total.zero_()

    def _record(self) -> None:
        """Warm up on a side stream of the model's own device, put back all that this changed, and capture one step."""
        device = self.data.inputs.device
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in parameters]
        state = {
            p: {name: value.clone() for name, value in self.optimiser.state[p].items()} for p in parameters if p in self.optimiser.state
        }
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._rewind(0)
                self._step()
        torch.cuda.current_stream(device).wait_stream(side)
        with torch.no_grad():
            for parameter, value in zip(parameters, before):
                parameter.copy_(value)
                for name, tensor in self.optimiser.state[parameter].items():
                    tensor.copy_(state[parameter][name]) if parameter in state else tensor.zero_()
        self._rewind(0)
        self.graph = torch.cuda.CUDAGraph()
        # The stream is named, since torch would take one of the device that was captured on first.
        with torch.cuda.device(device), torch.cuda.graph(self.graph, stream=side):
            self._step()
