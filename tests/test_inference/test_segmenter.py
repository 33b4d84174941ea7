"""Segmenter: the model of a config as a function of an array."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample

from egmim_mm.checkpoints import CheckpointError
from egmim_mm.inference import Segmenter


def whole_image(segmenter, image):
    """Class map by mmseg's own whole-image prediction of the same model."""
    bgr = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
    sample = SegDataSample(metainfo=dict(img_shape=image.shape[:2], ori_shape=image.shape[:2],
                                         pad_shape=image.shape[:2]))
    segmenter.model.test_cfg = Config(dict(mode='whole'))
    with torch.inference_mode():
        data = segmenter.model.data_preprocessor(dict(inputs=[bgr], data_samples=[sample]), False)
        return segmenter.model.predict(**data)[0].pred_sem_seg.data[0].numpy()


@pytest.mark.parametrize('size', [(64, 64), (100, 150), (20, 200), (33, 1)])
def test_map_is_that_of_mmseg_for_any_window(segmenter, noise, size):
    image = noise(*size)
    expected = whole_image(segmenter, image)
    assert len(np.unique(expected)) > 2 or image.size < 200
    for window, overlap in ((64, 0.25), (32, 0), (48, 0.5), (40, 0.8), (512, 0.25)):
        result = segmenter(image, window, overlap)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, expected, err_msg=f'window {window}, overlap {overlap}')


def test_facts_of_the_config(segmenter):
    assert segmenter.classes == ('a', 'b', 'c', 'd')
    assert segmenter.palette.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]
    assert (segmenter.bands, segmenter.window) == (3, 64)


def test_augmentation_averages_three_views(segmenter, noise):
    image = noise(8, 8)
    plain = segmenter.probabilities([image])
    segmenter.tta = True
    torch.testing.assert_close(segmenter.probabilities([image]), plain)  # each pixel is judged alone
    calls, one_view = [], segmenter._softmax
    segmenter._softmax = lambda inputs: calls.append(inputs) or one_view(inputs)
    segmenter.probabilities([image])
    assert [torch.equal(call, calls[0].flip(dims)) for call, dims in zip(calls, ((), (3, ), (2, )))] == [True] * 3


@pytest.mark.parametrize('image', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)),
                                   np.zeros((0, 4, 3), np.uint8)])
def test_other_images_are_refused(segmenter, image):
    with pytest.raises(ValueError, match=r'image must be \(H, W, 3\) uint8'):
        segmenter(image)


@pytest.mark.parametrize('options, says', [(dict(overlap=1.0), 'overlap 1.0'), (dict(window=-1), 'window -1')])
def test_options_out_of_range(segmenter, noise, options, says):
    with pytest.raises(ValueError, match=says):
        segmenter(noise(8, 8), **options)


def test_weights_of_another_model_are_refused(toy):
    config, checkpoint = toy()
    state = torch.load(checkpoint)['state_dict']
    state.pop('backbone.conv.bias')
    torch.save(dict(state_dict=state), checkpoint)
    with pytest.raises(CheckpointError, match="does not hold the weights of this config's model"):
        Segmenter(config, checkpoint)


def test_configs_that_do_not_fit_are_refused(toy, toy_config):
    config, checkpoint = toy()
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.metainfo.classes = ('a', 'b', 'c')
    with pytest.raises(ValueError, match='4 outputs for 3 classes'):
        Segmenter(cfg, checkpoint)
    with pytest.raises(ValueError, match='no segmentation config'):
        Segmenter(toy_config(), checkpoint)
