"""Where to compute."""

import pytest
import torch

from hae.devices import resolve_device, set_threads
from hae.errors import BadInput


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("HAE_DEVICE", raising=False)


@pytest.fixture
def two_gpus(monkeypatch, no_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_auto_is_the_environments_word_then_cuda_then_the_cpu(monkeypatch):
    assert resolve_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device() == torch.device("cuda")
    monkeypatch.setenv("HAE_DEVICE", "cpu")
    assert resolve_device("auto") == torch.device("cpu")
    assert resolve_device("cuda:0") == torch.device("cuda:0")  # what was asked for counts more


@pytest.mark.parametrize(
    ("device", "line"),
    [
        ("cuda", "device: 'cuda' is asked for, but torch sees 0 CUDA devices; allowed here: cpu"),
        ("gpu", "device: 'gpu' is not a device; allowed: auto, cpu, cuda, cuda:0, ..."),
        ("mps", "device: 'mps' is not supported; allowed: auto, cpu, cuda, cuda:0, ..."),
    ],
)
def test_what_is_not_there_is_said_in_a_line(device, line):
    with pytest.raises(BadInput) as error:
        resolve_device(device)
    assert str(error.value) == line


def test_the_environment_is_named_where_it_was_wrong(monkeypatch):
    monkeypatch.setenv("HAE_DEVICE", "cuda")
    with pytest.raises(BadInput, match=r"^HAE_DEVICE: 'cuda' is asked for, but torch sees 0 CUDA devices"):
        resolve_device()


def test_a_gpu_beyond_the_last_is_refused(two_gpus):
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(BadInput, match=r"'cuda:2' is asked for, but torch sees 2 CUDA devices; allowed here: cpu, cuda"):
        resolve_device("cuda:2")


def test_threads_are_the_environments(monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("HAE_THREADS", "2")
        set_threads()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for wrong in ("0", "two", "-1"):
        monkeypatch.setenv("HAE_THREADS", wrong)
        with pytest.raises(BadInput, match=f"HAE_THREADS: '{wrong}' is not allowed; allowed: a number of 1 or more"):
            set_threads()
