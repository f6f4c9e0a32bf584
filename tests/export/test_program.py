"""An exported network is the network: the same CVs and levels, for any number of rows, without this library."""

import io
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from hae.errors import BadInput
from hae.export.program import load_program, write_program
from hae.network.hierarchy import HierarchicalNetwork


def network(cv, variant):
    made = HierarchicalNetwork.mlp(5, cv, variant, hidden=(8,)).reset(3)
    made.scale_by([0.1, -0.2, 0.3, 0.0, 5.0], [2.0], [0.1, -0.2, 0.3, 0.0, 5.0], [2.0])
    return made


@pytest.mark.parametrize("variant", ["collective", "boosted"])
@pytest.mark.parametrize("cv", [("linear",) * 3, ("circular", "tanh", "linear")])
def test_the_program_gives_what_the_network_gives(variant, cv, tmp_path):
    trained = network(cv, variant)
    write_program(trained, 5, tmp_path / "program.pt2")
    program = load_program(tmp_path / "program.pt2")
    assert trained.dtype == torch.float32  # left as it was
    for rows in (1, 2, 7, 1000):
        s = torch.randn(rows, 5, generator=torch.Generator().manual_seed(rows))
        with torch.no_grad():
            cvs, levels = program(s.double())
            exact = network(cv, variant).double()(s.double())
            single = trained(s)
        assert cvs.shape == (rows, 3) and levels.shape == (3, rows, 5)
        torch.testing.assert_close((cvs, levels), exact, rtol=0, atol=1e-12)
        torch.testing.assert_close((cvs.float(), levels.float()), single, rtol=0, atol=1e-5 * float(levels.std()))


def test_a_stranger_s_process_needs_torch_alone(tmp_path):
    trained = network(("linear", "circular"), "collective")
    write_program(trained, 5, tmp_path / "program.pt2")
    script = "import sys; sys.modules['hae'] = None; import torch; torch.set_num_threads(1)\n" \
             "print(torch.export.load(sys.argv[1]).module()(torch.ones(2, 5, dtype=torch.float64))[0].tolist())"
    command = [sys.executable, "-c", script, tmp_path / "program.pt2"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    with torch.no_grad():
        expected = trained.double().encode(torch.ones(2, 5, dtype=torch.float64))
    np.testing.assert_allclose(eval(said.stdout), expected, atol=1e-12)


@pytest.mark.parametrize("content", [None, b"", b"not a program"])
def test_what_is_no_program_is_said_in_one_line(content, tmp_path):
    path = tmp_path / "program.pt2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=r"program\.pt2: (no such file|not an exported network)") as caught:
        load_program(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_program_is_said_in_one_line(tmp_path, capfd):
    path = tmp_path / "program.pt2"
    write_program(network(("linear",), "collective"), 5, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) // 4 + 2000] = bytes(2000)
    path.write_bytes(content)
    with pytest.raises(BadInput, match="damaged"):
        load_program(path)
    assert capfd.readouterr().err == ""


class Runs:
    """What an attacker puts into a pickle: a call made while it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def rewritten(path, change):
    """The archive with the bytes of some parts changed: ``change(name, bytes)`` gives the new ones."""
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, change(name, part))


def poisoned_sample(marker):
    buffer = io.BytesIO()
    torch.save(Runs(marker), buffer)
    return lambda name, part: buffer.getvalue() if name.endswith("sample_inputs/model.pt") else part


def poisoned_weight(marker):
    buffer = io.BytesIO()
    torch.save(Runs(marker), buffer)

    def change(name, part):
        if name.endswith("weights/weight_0"):
            return buffer.getvalue()
        return part.replace(b'"use_pickle": false', b'"use_pickle": true').replace(b'"use_pickle":false', b'"use_pickle":true')

    return change


def poisoned_size(marker):
    call = f"__import__('builtins').open('{marker}', 'w')"
    return lambda name, part: re.sub(rb'"expr_str":\s*"[^"]*"', f'"expr_str": "{call}"'.encode(), part)


@pytest.mark.parametrize("poison", [poisoned_sample, poisoned_weight, poisoned_size])
def test_a_poisoned_program_is_refused_before_anything_runs(poison, tmp_path):
    path, marker = tmp_path / "program.pt2", tmp_path / "marker"
    write_program(network(("linear",), "collective"), 5, path)
    before = path.read_bytes()
    rewritten(path, poison(marker))
    assert path.read_bytes() != before
    with pytest.raises(BadInput, match="could run code"):
        load_program(path)
    assert not marker.exists()
