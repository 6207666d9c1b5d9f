from __future__ import annotations

import pytest
import torch
from torch import nn

from metaalign_det.coordination import RandomStreams, call_at, frozen_batch_statistics


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)

    def encode(self, x, fail=False):
        y = self.bn(self.conv(x))
        if fail:
            raise RuntimeError("on purpose")
        return y


def test_a_call_at_other_parameters_uses_them_and_restores_the_module_even_when_it_raises():
    net, x = Net(), torch.randn(4, 2, 5, 5)
    before = {k: v.clone() for k, v in net.named_parameters()}
    ids = {k: id(v) for k, v in net.named_parameters()}
    other = {"conv.weight": torch.zeros_like(net.conv.weight), "bn.bias": torch.full((3,), 7.0)}
    with torch.no_grad():
        assert torch.allclose(call_at(net, other, "encode", x), torch.full((4, 3, 5, 5), 7.0))
    with pytest.raises(RuntimeError, match="on purpose"):
        call_at(net, other, "encode", x, fail=True)
    for name, p in net.named_parameters():
        assert id(p) == ids[name] and torch.equal(p, before[name])


def test_frozen_statistics_normalise_by_the_batch_but_track_nothing():
    net, x = Net(), torch.randn(4, 2, 5, 5)
    reference = Net()
    reference.load_state_dict(net.state_dict())
    before = {k: v.clone() for k, v in net.named_buffers()}
    with frozen_batch_statistics(net):
        y = net.encode(x)
    assert torch.equal(y, reference.encode(x))
    for name, b in net.named_buffers():
        assert torch.equal(b, before[name]), name
    net.encode(x)
    assert net.bn.num_batches_tracked == 1 and net.bn.momentum == 0.1


def test_layers_in_evaluation_mode_are_never_touched():
    net, x = Net().eval(), torch.randn(4, 2, 5, 5)
    with torch.no_grad(), frozen_batch_statistics(net):
        inside = net.encode(x)
    assert torch.equal(inside, net.encode(x))


def test_streams_depend_on_seed_rank_step_part_and_purpose_and_on_nothing_else():
    def draw(seed=1, rank=0, step=3, part=0, purpose="task"):
        streams = RandomStreams(seed, rank)
        streams.step, streams.part = step, part
        with streams(purpose):
            return torch.rand(4)

    base = draw()
    torch.rand(100)
    assert torch.equal(base, draw())
    for change in ({"seed": 2}, {"rank": 1}, {"step": 4}, {"part": 1}, {"purpose": "alignment"}):
        assert not torch.equal(base, draw(**change)), change


def test_streams_leave_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with pytest.raises(RuntimeError), RandomStreams(0)("task"):
        torch.rand(7)
        raise RuntimeError
    assert torch.equal(torch.rand(2), expected)


def test_streams_seed_as_torch_does_without_writing_down_the_stack(monkeypatch):
    monkeypatch.setattr(torch, "manual_seed", lambda number: pytest.fail("formats the stack"))
    streams = RandomStreams(seed=4)
    with streams("task"):
        first, seed = torch.rand(3), torch.initial_seed()
    monkeypatch.undo()
    torch.manual_seed(seed)
    assert torch.equal(torch.rand(3), first)
