"""The switch ``compile``: the same training, and a message where it cannot be."""
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import nn
from torch._inductor import config as inductor

from egmim_mm.engine.compilation import compile_parts
from egmim_mm.registry import MODELS

BASE = Path(__file__).resolve().parents[2] / 'configs/_base_/models'
ARCH = dict(embed_dims=8, depths=[2, 1, 1, 1], num_heads=[1, 2, 2, 2])


@pytest.fixture
def warnings(monkeypatch):
    """What the log of the run says of compiling."""
    lines = []
    logger = MMLogger.get_instance('test_compilation')
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    handler.addFilter(lambda record: record.getMessage().startswith('compile'))
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def model_and_batch(phase):
    """A toy model with drop path, and the function that gives its losses."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)
    init_default_scope('mmpretrain' if phase == 'pretrain' else 'mmseg')
    cfg = Config.fromfile(BASE / ('egmim_swin-tiny.py' if phase == 'pretrain' else 'upernet_swin-tiny.py')).model
    cfg.backbone.update(arch=ARCH, img_size=64, window_size=4, drop_path_rate=0.3)
    if phase == 'pretrain':
        samples = [DataSample() for _ in images]
    else:
        cfg.data_preprocessor.size = (64, 64)
        for head in (cfg.decode_head, cfg.auxiliary_head):
            head.update(channels=8, norm_cfg=dict(type='BN'))
        samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 5, (1, 64, 64), generator=generator)))
                   for _ in images]
    model = MODELS.build(cfg)
    model.init_weights()
    if phase == 'pretrain':
        model.set_iteration(500, 1000, 0)
    return model.train(), dict(inputs=list(images) if phase == 'finetune' else images, data_samples=samples)


def losses_and_gradients(model, batch):
    torch.manual_seed(3)  # of drop path and dropout
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    return losses, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize('phase, number', [('pretrain', 1), ('finetune', 3)])
def test_a_compiled_step_is_the_same_step(phase, number, warnings):
    (plain, batch), (model, _) = model_and_batch(phase), model_and_batch(phase)
    names = list(model.state_dict())
    assert compile_parts(model, dict(backend='aot_eager')) == number
    assert list(model.state_dict()) == names
    expected, gradients = losses_and_gradients(plain, batch)
    losses, compiled = losses_and_gradients(model, batch)
    assert losses.keys() == expected.keys() and compiled.keys() == gradients.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    for name, gradient in compiled.items():
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-3, atol=1e-5, msg=name)
    frames, breaks = torch._dynamo.utils.counters['frames'], torch._dynamo.utils.counters['graph_break']
    # whole graphs: no part is left to Python. Torch counts a function again that it compiles twice
    assert frames['ok'] == frames['total'] >= number and not breaks and warnings == []


class Small(nn.Module):

    def __init__(self):
        super().__init__()
        self.backbone, self.decode_head = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.GELU())

    def forward(self, x):
        return self.decode_head(self.backbone(x))


def broken(graph, inputs):
    raise RuntimeError('out of registers\nand a long trace')


@pytest.mark.parametrize('case', ['backend', 'no C++ compiler'])
def test_what_cannot_be_compiled_goes_on_with_one_message(case, warnings, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    model = Small()
    x = torch.randn(2, 4)
    expected = model(x)
    setting = dict(backend=broken) if case == 'backend' else True
    with inductor.patch({'cpp.cxx': ('no-such-compiler', )}):
        compile_parts(model, setting)
        for _ in range(2):
            assert torch.equal(model(x), expected)
        model(x).sum().backward()
    assert model.backbone.weight.grad.abs().sum() > 0
    assert len(warnings) == 1
    assert re.match(r'compile: torch\.compile failed for (Linear|Sequential) \(.+\); ', warnings[0])
    assert 'training goes on without it' in warnings[0]
    assert ('out of registers' if case == 'backend' else 'No working C++ compiler') in warnings[0]


@pytest.mark.skipif(not shutil.which('g++'), reason='needs a C++ compiler')
def test_compile_true_compiles(warnings, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path))
    model, x = Small(), torch.randn(2, 4)
    expected = model(x)
    assert compile_parts(model, True) == 2
    torch.testing.assert_close(model(x), expected)
    model(x).sum().backward()
    assert model.backbone.weight.grad.abs().sum() > 0 and warnings == []
    assert torch._dynamo.utils.counters['inductor']


def test_errors_of_the_model_stay_what_they_are(warnings):
    model = Small()
    compile_parts(model, dict(backend='eager'))
    with pytest.raises(Exception, match='mat1 and mat2 shapes cannot be multiplied|size mismatch'):
        model(torch.randn(2, 5))


@pytest.mark.parametrize('setting, number', [(False, 0), (None, 0), (dict(backend='eager'), 1)])
def test_the_runner_compiles_what_the_config_says(toy, setting, number):
    run = toy(options=dict(compile=setting))
    assert len(run.rates) == 6
    assert (f'compile: {number} parts of the model' in run.log) == bool(number)


@pytest.mark.parametrize('setting, message', [
    ('fast', "compile must be True, False or a dict of arguments .* got 'fast'"),
    (dict(backend='nonsense'), r"compile={'backend': 'nonsense'}: Invalid backend: 'nonsense'"),
    (dict(speed=9), r"compile={'speed': 9}: .* unexpected keyword argument 'speed'"),
    (dict(options=dict(speed=9)), 'Unexpected optimization option speed')
])
def test_a_wrong_setting_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        compile_parts(Small(), setting)
