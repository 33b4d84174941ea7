"""Linear read-outs of feature maps, and the hand-made features beside them."""
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DefaultScope

from egmim_mm.models import ReadoutHead
from egmim_mm.readout.pixel_filters import filtered_maps
from egmim_mm.registry import MODELS

WIDTHS, SIZES = [4, 6, 5], [(12, 10), (6, 5), (12, 10)]


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, width, *size, generator=generator) for width, size in zip(WIDTHS, SIZES)]


def head_of(groups=((0, 1), (2, )), classes=3, **options):
    groups = [list(group) for group in groups]
    return ReadoutHead(**dict(in_channels=WIDTHS, in_index=[0, 1, 2], groups=groups, num_classes=classes) | options)


def fitted(head, seen=(0, 1, 2)):
    generator = torch.Generator().manual_seed(1)
    head.set_classifiers([(torch.randn(len(seen), sum(widths), generator=generator),
                           torch.randn(len(seen), generator=generator)) for widths in head.widths], seen)
    return head


def test_it_is_the_mean_of_classifiers_of_upsampled_maps(maps):
    head = fitted(head_of())
    up = F.interpolate(maps[1], SIZES[0], mode='bilinear')
    groups = [torch.cat([maps[0], up], 1), maps[2]]
    wanted = sum(F.conv2d(group, layer.weight[:, :, None, None], layer.bias).softmax(1)
                 for layer, group in zip(head.classifiers, groups)) / 2
    with torch.no_grad():
        found = head(maps)
    assert found.dtype == torch.float32 and torch.allclose(found.exp(), wanted, atol=1e-5)
    assert torch.allclose(found.softmax(1), wanted, atol=1e-5)


def test_autocast_changes_nothing(maps):
    head = fitted(head_of()).eval()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        inside = head(maps)
    with torch.no_grad():
        assert torch.equal(inside, head(maps))


def test_a_class_that_was_not_seen_has_probability_zero_and_a_finite_score(maps):
    with torch.no_grad():
        found = fitted(head_of(), (0, 2))(maps)
    assert found.isfinite().all() and found[:, 1].exp().max() < 1e-30
    assert torch.allclose(found[:, [0, 2]].exp().sum(1), torch.ones(2, *SIZES[0]), atol=1e-5)


def test_an_unfitted_head_refuses_to_predict_and_the_checkpoint_knows(maps):
    sizes, head = [dict(img_shape=(48, 40), pad_shape=(48, 40))], head_of()
    with pytest.raises(ValueError, match='classifiers of ReadoutHead are not fitted: train this config with egmim_mm'):
        head.predict(maps, sizes, {})
    head.load_state_dict(fitted(head_of()).state_dict())
    assert head.predict(maps, sizes, {}).shape == (2, 3, 48, 40)
    assert set(head.state_dict()) == {'fitted', *(f'classifiers.{n}.{p}' for n in (0, 1) for p in ('weight', 'bias'))}


def test_it_is_not_trained_by_gradients(maps):
    with pytest.raises(ValueError, match='fitted at once, not trained by gradients: set train_cfg=dict'):
        head_of().loss(maps, [], {})


@pytest.mark.parametrize('options', [dict(groups=[]), dict(groups=[[]]), dict(groups=[[0, 3]]), dict(groups=[0, 1]),
                                     dict(in_index=0)])
def test_groups_that_are_none(options):
    with pytest.raises(ValueError, match='must be lists of numbers out of in_index'):
        ReadoutHead(**dict(in_channels=WIDTHS, in_index=[0, 1, 2], groups=[[0]], num_classes=3) | options)


def test_two_classes_have_two_outputs():
    assert head_of(classes=2).out_channels == 2
    with pytest.raises(ValueError, match='leave out_channels=1 out'):
        head_of(classes=2, out_channels=1)


@pytest.fixture
def model_of():
    def build(name='readout', **options):
        cfg = Config.fromfile(f'configs/dubai_cpu/{name}.py')
        cfg.model.backbone.update(arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4]), window_size=2)
        cfg.merge_from_dict(dict(model=options))
        with DefaultScope.overwrite_default_scope('mmseg'):
            return MODELS.build(cfg.model)

    return build


@pytest.mark.parametrize('bands', [3, 4])
def test_hand_made_features_follow_the_stages(model_of, bands):
    model = model_of(backbone=dict(in_channels=bands)).eval()
    assert model.decode_head.in_channels == [8, 16, 32, 64, 24 * bands]
    images = torch.randn(1, bands, 66, 96)
    with torch.no_grad():
        maps = model.extract_feat(images)
    assert [tuple(one.shape[1:]) for one in maps[::4]] == [(8, 17, 24), (24 * bands, 17, 24)]
    assert torch.equal(maps[4], filtered_maps(images, 0.5, (17, 24)))


def test_the_backbone_has_the_weights_of_any_other(model_of):
    ours, upernet = (model_of(name).backbone.state_dict() for name in ('readout', 'upernet'))
    assert {name: one.shape for name, one in ours.items()} == {name: one.shape for name, one in upernet.items()}


@pytest.mark.parametrize('given', [dict(), dict(scale=0), dict(scale=2), dict(scale='half'), dict(scale=1, sigma=3)])
def test_pixel_features_that_are_none(model_of, given):
    with pytest.raises(ValueError, match=r'model.pixel_features is .*: give dict\(scale=S\)'):
        model_of(pixel_features=dict(_delete_=True, **given))
