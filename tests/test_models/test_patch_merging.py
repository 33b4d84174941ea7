"""Our patch merging against MMCV's and MMPretrain's modules, whose weights it uses: outputs and all gradients."""
from copy import deepcopy

import pytest
import torch
from mmcv.cnn.bricks import transformer
from mmpretrain.models.utils import PatchMerging

from egmim_mm.models.backbones.patch_merging import merge_tokens

CHANNELS = 6


# more numbers than weights, then fewer, then padded
@pytest.mark.parametrize('height, width', [(12, 8), (2, 2), (7, 5)])
@pytest.mark.parametrize('build, options', [
    (transformer.PatchMerging, dict()), (PatchMerging, dict()), (PatchMerging, dict(use_post_norm=True)),
], ids=['mmcv', 'mmpretrain', 'mmpretrain, post norm'])
def test_outputs_and_gradients(height, width, build, options):
    torch.manual_seed(0)
    stock = build(CHANNELS, 2 * CHANNELS, **options).double()
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter)
    ours = deepcopy(stock)
    tokens = torch.randn(2, height * width, CHANNELS, dtype=torch.float64)
    results = []
    for module, call in ((ours, lambda x: merge_tokens(ours, x, (height, width))),
                         (stock, lambda x: stock(x, (height, width)))):
        x = tokens.clone().requires_grad_()
        out, shape = call(x)
        assert shape == (-(-height // 2), -(-width // 2))
        (out * torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)).sum().backward()
        results.append(dict(out=out, x=x.grad, **{n: p.grad for n, p in module.named_parameters()}))
    for name, value in results[1].items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(results[0][name], value, rtol=1e-9, atol=1e-9)
