"""A Swin that encodes the kept cells alone, against dense encoding and against a plain implementation."""
import math

import pytest
import torch
from torch.nn import functional as F

from egmim_mm.masking import sample_mask
from egmim_mm.models import MaskedSwinTransformer, MaskedSwinTransformerV2
from egmim_mm.models.backbones import window_attention
from egmim_mm.models.backbones.visible_map import cell_places, gather_cells, kept_cells, token_places

ARCH = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4])
kinds = pytest.mark.parametrize('kind', [MaskedSwinTransformer, MaskedSwinTransformerV2])


def swin(kind=MaskedSwinTransformer, window=4, **options):
    """float64, random weights, so that every parameter matters."""
    torch.manual_seed(0)
    backbone = kind(ARCH, 128, window, **options).double()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    return backbone


def images(*size, batch=2):
    return torch.randn(batch, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def drawn(batch, height, width, cell=16):
    return sample_mask(torch.rand(batch, 1, height, width, generator=torch.Generator().manual_seed(2)),
                       policy='random_uniform', cell_size=cell, generator=torch.Generator().manual_seed(3))


def all_cells(batch, rows, columns):
    places = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing='ij')
    return torch.stack(places).expand(batch, -1, -1, -1)


def backward(outs):
    torch.manual_seed(4)
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()


@kinds
@pytest.mark.parametrize('size', [(128, 128), (128, 256)])
def test_all_cells_are_dense_encoding(kind, size):
    """Outputs and gradients: the same parameters mean the same."""
    x, results = images(*size), []
    for encode in ('dense', 'visible'):
        backbone = swin(kind, encode=encode)
        cells = all_cells(2, size[0] // 16, size[1] // 16)
        outs = backbone(x) if encode == 'dense' else backbone.encode_cells(x, cells)
        backward(outs)
        results.append((outs, {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}))
    (dense, gradients), (visible, others) = results
    assert [out.shape for out in dense] == [out.shape for out in visible]
    for ours, theirs in zip(visible, dense):
        assert theirs.abs().mean() > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert gradients.keys() == others.keys() and len(gradients) > 50
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-8, atol=1e-8, msg=name)


def test_without_a_mask_it_is_dense():
    dense, visible = swin(), swin(encode='visible')
    assert {n: p.shape for n, p in dense.state_dict().items()} == {n: p.shape for n, p in visible.state_dict().items()}
    visible.load_state_dict(dense.state_dict())
    for ours, theirs in zip(visible(images(96, 160)), dense(images(96, 160))):
        assert torch.equal(ours, theirs)


class Plain:
    """Swin V1 on the kept cells, written token by token for one image; ``place[t]`` is where a token is."""

    def __init__(self, backbone, image, kept):
        self.swin, self.cell = backbone, backbone.cell_size
        rows, columns = kept.shape
        side = self.cell // 4
        patch = backbone.patch_embed
        tokens = [[None] * (columns * side) for _ in range(rows * side)]
        places = [[None] * (columns * side) for _ in range(rows * side)]
        for i in range(rows):
            for j in range(columns):
                top, left = 2 * i + int(kept[i, j]) // 2, 2 * j + int(kept[i, j]) % 2
                for a in range(side):
                    for b in range(side):
                        y, x = top * side + a, left * side + b
                        pixels = image[:, 4 * y:4 * y + 4, 4 * x:4 * x + 4]
                        projection = patch.projection
                        value = projection.weight.flatten(1) @ pixels.flatten() + projection.bias
                        tokens[i * side + a][j * side + b] = patch.norm(value)
                        places[i * side + a][j * side + b] = (float(y), float(x))
        self.tokens, self.places = torch.stack([torch.stack(row) for row in tokens]), places

    def attention(self, module, x):
        msa, largest = module.w_msa, module.window_size
        height, width, channels = x.shape
        side = max(height, width)
        window = math.ceil(side / math.ceil(side / largest))
        shift = window // 2 if module.shift_size and side >= largest else 0
        padded_h, padded_w = -height % window + height, -width % window + width
        x = F.pad(x, (0, 0, 0, padded_w - width, 0, padded_h - height))

        def place(y, x_):  # padded tokens go on in steps of one
            near = self.places[min(y, height - 1)][min(x_, width - 1)]
            return near[0] + max(0, y - height + 1), near[1] + max(0, x_ - width + 1)

        groups = {}
        for y in range(padded_h):
            for x_ in range(padded_w):
                rolled = (y - shift) % padded_h, (x_ - shift) % padded_w
                wrapped = tuple(a < b if shift else False for a, b in zip((y, x_), (shift, shift)))
                # tokens that only the roll brings together do not see each other
                groups.setdefault((rolled[0] // window, rolled[1] // window, wrapped), []).append((y, x_))
        out = torch.zeros_like(x)
        qkv = msa.qkv(x).unflatten(2, (3, msa.num_heads, -1))
        table = msa.relative_position_bias_table
        for group in groups.values():
            q, k, v = (torch.stack([qkv[y, x_, part] for y, x_ in group]) for part in range(3))  # (n, heads, d)
            scores = torch.einsum('ihd,jhd->hij', q * msa.scale, k)
            for i, first in enumerate(group):
                for j, second in enumerate(group):
                    offset = [min(max(round(a - b), 1 - largest), largest - 1) + largest - 1
                              for a, b in zip(place(*first), place(*second))]
                    scores[:, i, j] = scores[:, i, j] + table[offset[0] * (2 * largest - 1) + offset[1]]
            mixed = torch.einsum('hij,jhd->ihd', scores.softmax(-1), v).flatten(1)
            for (y, x_), value in zip(group, mixed):
                out[y, x_] = value
        return msa.proj(out)[:height, :width]

    def merge(self, module):
        height, width, _ = self.tokens.shape
        x = F.pad(self.tokens, (0, 0, 0, width % 2, 0, height % 2))

        def place(y, x_):
            near = self.places[min(y, height - 1)][min(x_, width - 1)]
            return near[0] + max(0, y - height + 1), near[1] + max(0, x_ - width + 1)

        half = (x.shape[0] // 2, x.shape[1] // 2)
        # channels of nn.Unfold: channel by channel, the four tokens of each
        squares = x.unflatten(0, (half[0], 2)).unflatten(2, (half[1], 2)).permute(0, 2, 4, 1, 3).flatten(2)
        places = [[tuple((sum(place(2 * i + a, 2 * j + b)[axis] for a in (0, 1) for b in (0, 1)) / 4 - 0.5) / 2
                         for axis in (0, 1)) for j in range(half[1])] for i in range(half[0])]
        self.tokens, self.places = module.reduction(module.norm(squares)), places

    def encode(self):
        outs = []
        for index, stage in enumerate(self.swin.stages):
            if index:
                self.merge(self.swin.stages[index - 1].downsample)
            for block in stage.blocks:
                self.tokens = self.tokens + self.attention(block.attn, block.norm1(self.tokens))
                self.tokens = self.tokens + block.ffn.layers(block.norm2(self.tokens))
            outs.append(getattr(self.swin, f'norm{index}')(self.tokens).permute(2, 0, 1))
        return outs


@pytest.mark.parametrize('use_sdpa', [False, True], ids=['products', 'sdpa'])
@pytest.mark.parametrize('size, window, cell', [((128, 128), 4, 16), ((96, 160), 3, 16), ((192, 192), 4, 16),
                                                ((128, 128), 4, 32)])
def test_equals_a_plain_implementation(monkeypatch, use_sdpa, size, window, cell):
    attend = window_attention.attend
    monkeypatch.setattr(window_attention, 'attend', lambda *args: attend(*args[:-1], use_sdpa))
    backbone = swin(window=window, encode='visible', cell_size=cell)
    x, mask = images(*size), drawn(2, *size, cell)
    kept = kept_cells(mask, cell // 4)
    assert (kept[0] != kept[1]).any()
    with torch.no_grad():
        outs = backbone(x, mask)
        for number in range(2):
            for ours, theirs in zip(outs, Plain(backbone, x[number], kept[number]).encode()):
                torch.testing.assert_close(ours[number], theirs, rtol=1e-9, atol=1e-9)


def test_a_hidden_pixel_changes_nothing_and_a_visible_one_does():
    backbone = swin(encode='visible')
    x, mask = images(64, 64), drawn(2, 64, 64)
    pixels = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    with torch.no_grad():
        outs = backbone(x, mask)
        for ours, theirs in zip(outs, backbone(torch.where(pixels, 7.0, x), mask)):
            assert torch.equal(ours, theirs)
        for ours, theirs in zip(outs, backbone(torch.where(pixels, x, 7.0), mask)):
            assert (ours - theirs).abs().mean() > 1e-3
    assert [out.shape[-1] for out in outs] == [8, 4, 2, 1]


def test_images_of_a_batch_do_not_meet():
    backbone, x, mask = swin(encode='visible'), images(64, 64), drawn(2, 64, 64)
    with torch.no_grad():
        for whole, *parts in zip(backbone(x, mask), *(backbone(x[i:i + 1], mask[i:i + 1]) for i in range(2))):
            torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-10, atol=1e-10)


@kinds
def test_activation_checkpointing_changes_no_gradient(kind):
    x, mask, gradients = images(64, 64), drawn(2, 64, 64), []
    for with_cp in (False, True):
        backbone = swin(kind, encode='visible', with_cp=with_cp)
        backward(backbone(x, mask))
        gradients.append({name: p.grad for name, p in backbone.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 50
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-8, atol=1e-8, msg=name)


def test_places_are_those_of_the_pixels():
    """Gathered coordinates of the whole map are the places; merging inside a cell is exact."""
    mask = drawn(2, 128, 192)
    places = cell_places(kept_cells(mask, 4))
    tokens = token_places(places, 4)
    for size in (4, 2, 1):
        grid = all_cells(2, 8 * size, 12 * size)
        assert torch.equal(tokens.places, gather_cells(grid, places, size).float())
        tokens = tokens.merged()
    # a token of stage 4 is in the middle of four cells of 64 px, up to a quarter of a token
    regular = all_cells(2, 2, 3) * 2 + 0.5
    assert tokens == (2, 3) and (tokens.places - regular).abs().max() <= 0.5


def test_what_a_mask_with_several_visible_cells_keeps():
    mask = torch.ones(1, 8, 16, dtype=torch.bool)
    mask[:, 4:, 4:8] = False  # block 0: the last cell
    mask[:, :, 8:] = False  # block 1 hides nothing: the first cell stands for it
    assert kept_cells(mask, 4).tolist() == [[[3, 0]]]
    assert cell_places(kept_cells(mask, 4)).tolist() == [[[[1, 0]], [[1, 2]]]]


@pytest.mark.parametrize('options, message', [
    (dict(encode='sparse'), "backbone.encode must be 'dense' or 'visible', got 'sparse'"),
    (dict(encode='visible', cell_size=8), 'backbone.cell_size = 8 px must be 16 or a multiple of 32'),
    (dict(encode='visible', cell_size=48), 'backbone.cell_size = 48 px must be 16 or a multiple of 32'),
    (dict(encode='visible', cell_size=0), 'backbone.cell_size = 0 px must be 16 or a multiple of 32'),
])
def test_settings_that_cannot_be(options, message):
    for kind in (MaskedSwinTransformer, MaskedSwinTransformerV2):
        with pytest.raises(ValueError, match=message):
            kind(ARCH, 64, 4, **options)


def test_images_and_masks_that_do_not_fit():
    backbone = swin(encode='visible')
    with pytest.raises(ValueError, match='image size 48 x 64 px must be divisible by 32 px, the blocks of 2 x 2 cells'):
        backbone(images(48, 64), torch.zeros(2, 12, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match=r'mask is \(8, 8\) tokens, the image has \(16, 16\)'):
        backbone(images(64, 64), torch.zeros(2, 8, 8, dtype=torch.bool))
