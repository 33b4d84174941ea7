"""The optimizer wrapper and the hook that writes the losses down: same values as MMEngine's, fewer reads."""
from itertools import count
from unittest import mock

import pytest
import torch
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

NUMBERS = count()  # MMEngine keeps the state of every experiment of a process by its name
OURS = dict(type='egmim_mm.AutocastOptimWrapper', precision='float32')


class Line(BaseModel):

    def __init__(self, spoil_at=None):
        super().__init__()
        self.fit, self.spoil_at, self.steps, self.seen = nn.Linear(4, 4), spoil_at, 0, set()

    def forward(self, inputs, mode='tensor'):
        out = self.fit(inputs)
        self.seen.add(out.dtype)
        self.steps += 1
        pixel = out.float().square().mean()
        edge = pixel * (float('nan') if self.steps == self.spoil_at else 0.5)
        return dict(loss_pixel=pixel, loss_edge=edge, edge=edge.detach())


def train(model, work_dir, wrapper=OURS, max_iters=7, **hooks):
    init_default_scope('mmengine')
    torch.manual_seed(0)
    model.fit.reset_parameters()
    data = [torch.full((4, ), float(i + 1)) for i in range(4)]
    runner = Runner(
        model=model, work_dir=str(work_dir), experiment_name=f'test_step_{next(NUMBERS)}',
        train_dataloader=dict(batch_size=2, dataset=data, sampler=dict(type='InfiniteSampler', shuffle=False, seed=0),
                              collate_fn=lambda batch: dict(inputs=torch.stack(batch))),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
        optim_wrapper=dict(wrapper, optimizer=dict(type='SGD', lr=1e-2), clip_grad=dict(max_norm=1.0)),
        default_hooks=dict(logger=LoggerHook(interval=3, log_metric_by_epoch=False),
                           checkpoint=dict(type='egmim_mm.SafeCheckpointHook', interval=100), **hooks),
        log_level='ERROR')
    runner.train()
    return {name: runner.message_hub.get_scalar(f'train/{name}').data[0].tolist()
            for name in ('loss', 'loss_pixel', 'loss_edge', 'edge', 'grad_norm')}


def test_the_log_holds_the_values_of_mmengine(tmp_path):
    ours = train(Line(), tmp_path / 'ours', runtime_info=dict(type='egmim_mm.StepRecordsHook'))
    theirs = train(Line(), tmp_path / 'theirs', dict(type='OptimWrapper'))
    assert ours.keys() == theirs.keys() and all(len(values) == 7 for values in ours.values())
    for name, values in ours.items():
        assert values == pytest.approx(theirs[name], rel=1e-6) and len(set(values)) == 7, name


def test_values_are_read_when_they_are_logged(tmp_path):
    reads, written = [], []
    tolist, update = torch.Tensor.tolist, MessageHub.update_scalar
    with mock.patch.object(torch.Tensor, 'tolist', lambda self: reads.append(len(self)) or tolist(self)), \
            mock.patch.object(MessageHub, 'update_scalar',
                              lambda self, key, value, *args: written.append(value) or update(self, key, value, *args)):
        train(Line(), tmp_path, runtime_info=dict(type='egmim_mm.StepRecordsHook'))
    # five values of 3, 3 and 1 steps
    assert [length for length in reads if length != 4] == [15, 15, 5]  # 4: the samples
    assert len(written) >= 35 and not any(isinstance(value, torch.Tensor) for value in written)


def test_a_spoiled_term_is_named_with_its_iteration_although_it_is_read_later(tmp_path):
    finite = dict(finite_loss=dict(type='egmim_mm.FiniteLossHook'))
    with pytest.raises(FloatingPointError, match=r'^loss, loss_edge, edge became NaN or infinite at iteration 4\. Last '
                       r'good checkpoint: none was saved yet.*optim_wrapper.precision=float32'):
        train(Line(spoil_at=4), tmp_path, runtime_info=dict(type='egmim_mm.StepRecordsHook'), **finite)


@pytest.mark.parametrize('precision, dtype', [('float32', torch.float32), ('bfloat16', torch.bfloat16)])
def test_precision_of_the_forward_pass(precision, dtype, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True, raising=False)
    model = Line()
    wrapper = build_optim_wrapper(model, dict(OURS, precision=precision, optimizer=dict(type='SGD', lr=0.1)))
    outputs = model.train_step(dict(inputs=torch.ones(2, 4)), wrapper)
    assert model.seen == {dtype} and outputs['loss'].dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_an_unknown_precision_is_refused_when_the_run_is_built():
    with pytest.raises(ValueError, match="precision must be one of auto, bfloat16, float32, got 'fp8'"):
        build_optim_wrapper(Line(), dict(OURS, precision='fp8', optimizer=dict(type='SGD', lr=0.1)))
