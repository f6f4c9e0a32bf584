"""How long a training goes on: steps, epochs, and the rate of each step."""

import math

import pytest
import torch

from hae.training.schedule import Schedule, Settings, one_cycle

CASES = [
    (total, warmup)
    for total in (3, 4, 7, 20, 100, 1234, 5000)
    for warmup in (0.0, 0.05, 0.1, 0.15, 0.3, 1.0)
    if not math.isclose(warmup * total, 1)  # a rise of one step, for which torch divides by 0
]


@pytest.mark.parametrize(("total", "warmup"), CASES)
@pytest.mark.parametrize("peak", [5e-3, 1e-2, 0.3])
def test_the_rate_is_torchs_to_the_last_bit(peak, total, warmup):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=total, pct_start=warmup, cycle_momentum=False)
    expected = [schedule.get_last_lr()[0]]
    for _ in range(total - 1):
        optimiser.step()
        schedule.step()
        expected.append(schedule.get_last_lr()[0])
    assert one_cycle(peak, total, warmup) == expected


def test_few_rows_get_as_many_steps_as_they_need():
    few = Schedule.of(Settings(batch_size=512, max_epochs=100, patience=20, min_steps=3000), 320, [0])
    assert (few.batch_size, few.steps, few.epochs, few.patience, few.peak) == (32, 10, 300, 60, 45)
    assert len(few.rates) == 3000 and max(few.rates) == few.rates[449]
    many = Schedule.of(Settings(batch_size=512, max_epochs=100, patience=20, min_steps=3000), 512 * 30, [0])
    assert (many.batch_size, many.epochs, many.patience) == (512, 100, 20)
    assert Schedule.of(Settings(max_epochs=100, patience=None, min_steps=3000), 320, [0]).patience is None


class Parameters:
    batch_size, max_epochs, patience, learning_rate, min_steps = 64, None, 5, 0.1, 700


def test_a_length_that_is_said_is_kept():
    assert Settings.of(Parameters) == Settings(64, 100, 5, 0.1, min_steps=700)
    told = type("Told", (Parameters,), {"max_epochs": 3})
    assert Settings.of(told) == Settings(64, 3, 5, 0.1, min_steps=0)
    assert Schedule.of(Settings.of(told), 64, [0]).epochs == 3
