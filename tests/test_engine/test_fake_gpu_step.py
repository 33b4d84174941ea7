"""A training step on fake CUDA tensors: nothing waits for the GPU, every product of matrices is bfloat16.

PyTorch's FakeTensorMode runs the Python code with tensors that have a device, a shape and a type, but no values; so
what needs a value (``.item()``, ``bool(tensor)``, a boolean index) fails, on a machine without a GPU too. Only
autograd's engine asks for a real GPU: on fake CUDA tensors the gradients are made up, and backward is watched on fake
CPU tensors.
"""
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from egmim_mm.engine.hooks.step_records import scalars
from egmim_mm.models.backbones.window_attention import shift_mask
from egmim_mm.registry import MODELS

BASE = Path(__file__).resolve().parents[2] / 'configs/_base_'
ARCH = dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4])
GPU, CPU = torch.device('cuda:0'), torch.device('cpu')
READS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'is_nonzero', 'equal', 'unique')
PRODUCTS = ('mm', 'addmm', 'bmm', 'baddbmm', 'convolution', 'convolution_backward', '_scaled_dot_product')


class Watch(TorchDispatchMode):
    """Writes down every operation that reads a value, moves data between devices or multiplies in float32."""

    def __init__(self):
        super().__init__()
        self.reads, self.copies, self.products, self.count = [], [], [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix('aten::')
        tensors = [t for t in tree_flatten((args, kwargs, out))[0] if isinstance(t, torch.Tensor)]
        self.count += 1
        if name in READS:
            self.reads.append(name)
        if len({t.device.type for t in tensors if t.dim() or t.device.type == 'cuda'}) > 1:
            self.copies.append(name)
        factors = [t for t in args if isinstance(t, torch.Tensor) and t.dim() > 1]
        if name.startswith(PRODUCTS) and any(factor.dtype == torch.float32 for factor in factors):
            self.products.append((name, [tuple(factor.shape) for factor in factors]))
        return out


@pytest.fixture
def fake_gpu(monkeypatch):
    """FakeTensorMode in which autocast believes in a GPU."""
    monkeypatch.setattr(torch.cuda.amp.common, 'amp_definitely_not_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda **_: True)
    # a generator has a real device
    monkeypatch.setattr(torch, 'Generator', lambda device: mock.Mock(manual_seed=lambda seed: None))
    monkeypatch.setattr('egmim_mm.precision._cpu_gain', lambda: 9.0)
    # which kernel it takes depends on the GPU: here the one that takes a bias with a gradient
    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', efficient_attention)
    shift_mask.cache_clear()
    yield FakeTensorMode()
    shift_mask.cache_clear()


def efficient_attention(q, k, v, bias, dropout, scale):
    bias = bias.expand(len(q), -1, -1, -1)
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias, True, dropout, scale=scale)[0]


def faked(model, mode, device):
    """The model, which was built with real tensors, with fake ones."""
    def fake(value):
        like = mode.from_tensor(value.detach())
        with mode:
            return torch.empty_like(like, device=device)

    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = torch.nn.Parameter(fake(value), value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = fake(value)
    model.data_preprocessor._device = device
    return model.train()


def made_up(wrapper):
    """Stands in for ``wrapper.backward``."""

    def backward(loss):
        for group in wrapper.optimizer.param_groups:
            for parameter in group['params']:
                parameter.grad = torch.empty_like(parameter)
        wrapper._inner_count += 1

    return backward


def traced(model, schedule, batch, device, **options):
    """Watch of the second step; the first makes masks and the optimizer's state."""
    cfg = dict(Config.fromfile(BASE / f'schedules/{schedule}.py').optim_wrapper, **options)
    wrapper = build_optim_wrapper(model, cfg)
    assert len(wrapper.optimizer.param_groups) == 2
    if device == GPU:
        wrapper.backward = made_up(wrapper)
    for _ in range(2):
        with Watch() as watch:
            outputs = model.train_step(batch, wrapper)
    values = scalars(outputs)
    assert len(values) >= 2 and all(value.device == device for value in values.values())
    assert watch.count > (300 if device == GPU else 800)
    watch.clipped = wrapper.grad_norm is not None
    return watch


def check(watch):
    assert watch.reads == [] and watch.copies == []
    assert watch.products == []


def test_watch_sees_what_it_looks_for(fake_gpu):
    with fake_gpu:
        a = torch.ones(4, 4, device=GPU)
        with Watch() as watch:
            a @ a
            a.cpu()
            (a.bfloat16() @ a.bfloat16()).sum()
        assert [name for name, _ in watch.products] == ['mm'] and watch.copies == ['_to_copy'] and watch.reads == []
        for read in (lambda: float(a.sum()), lambda: a[a > 0], lambda: bool(a.any())):
            with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
                read()


devices = pytest.mark.parametrize('device', [GPU, CPU], ids=['forward, cuda', 'backward, cpu'])


@devices
@pytest.mark.parametrize('name', ['egmim_swin-tiny', 'egmim_swinv2-tiny', 'egmim_swin-tiny_visible'])
def test_pretraining(fake_gpu, name, device):
    init_default_scope('mmpretrain')
    cfg = Config.fromfile(BASE / f'models/{name}.py').model
    cfg.backbone.update(arch=ARCH, img_size=64, window_size=4)
    model = faked(MODELS.build(cfg), fake_gpu, device)
    model.set_iteration(500, 1000, 0)
    model.balance._is_set = True  # step 200, once in a run, may wait
    with fake_gpu:
        images = torch.zeros(2, 3, 64, 64, dtype=torch.uint8, device=device)
        check(traced(model, 'dapt', dict(inputs=images, data_samples=[DataSample() for _ in range(2)]), device))


def segmentor(mode, device, name='upernet_swin-tiny', **options):
    """The model of a segmentation config at toy size; BN stands for SyncBN, which is it in one process."""
    init_default_scope('mmseg')
    cfg = Config.fromfile(BASE / f'models/{name}.py').model
    cfg.backbone.update(arch=ARCH, img_size=64, window_size=4)
    cfg.data_preprocessor.update(size=(64, 64))
    for head in (cfg.decode_head, cfg.auxiliary_head):
        head.update(channels=16, norm_cfg=dict(type='BN'))
        head.loss_decode.update(options)
    return faked(MODELS.build(cfg), mode, device)


def labelled_batch(mode):
    """Two images and masks in memory, as a loader hands them over."""
    with mode:
        samples = []
        for _ in range(2):
            sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
            sample.gt_sem_seg = PixelData(data=torch.zeros(1, 64, 64, dtype=torch.long))
            samples.append(sample)
        return dict(inputs=[torch.zeros(3, 64, 64, dtype=torch.uint8) for _ in samples], data_samples=samples)


@pytest.mark.parametrize('name, options, device', [
    ('upernet_swin-tiny', dict(), GPU), ('upernet_swin-tiny', dict(), CPU),
    ('upernet_swin-tiny', dict(class_weight=[1.0, 2.0, 1.0, 0.5, 1.0]), GPU),
    ('upernet_swin-tiny', dict(use_sigmoid=True), GPU), ('upernet_swinv2-tiny', dict(), GPU)
], ids=['forward, cuda', 'backward, cpu', 'class weights', 'sigmoid', 'swin v2'])
def test_fine_tuning(fake_gpu, name, options, device):
    """From the images of the loader to the updated weights, with clipping."""
    model, batch = segmentor(fake_gpu, device, name, **options), labelled_batch(fake_gpu)
    with fake_gpu:
        watch = traced(model, 'finetune', batch, device, clip_grad=dict(max_norm=1.0))
    # the batch is all that is copied: an image and a mask of each sample
    assert watch.copies == ['_to_copy'] * (4 if device == GPU else 0)
    watch.copies.clear()
    check(watch)
    assert watch.clipped


@pytest.mark.parametrize('part, stock', [
    ('data_preprocessor', 'SegDataPreProcessor'), ('decode_head', 'UPerHead'), ('auxiliary_head', 'FCNHead')])
def test_stock_parts_wait_for_the_gpu(fake_gpu, monkeypatch, part, stock):
    """What ours replace; it also shows that the watch sees it in a whole step."""
    built = Config.fromfile(BASE / 'models/upernet_swin-tiny.py')
    built.model[part].type = f'mmseg.{stock}'
    monkeypatch.setattr(Config, 'fromfile', lambda path, load=Config.fromfile: built if 'upernet' in str(path)
                        else load(path))
    model, batch = segmentor(fake_gpu, GPU), labelled_batch(fake_gpu)
    with fake_gpu:
        if part != 'data_preprocessor':
            with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
                traced(model, 'finetune', batch, GPU)
        else:
            assert len(traced(model, 'finetune', batch, GPU).copies) > 4
