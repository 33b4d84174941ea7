"""MMSegmentation's slide inference as it is compared with: the plain mean of its crops' logits."""
import numpy as np
import torch

from egmim_mm.inference.stock_slide import slide_starts, stock_slide


def crop_logits(model, crop):
    """By MMSegmentation's own segmentor, from BGR as its loaders give it."""
    tensor = torch.from_numpy(np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)))
    with torch.inference_mode():
        inputs = model.data_preprocessor(dict(inputs=[tensor]), False)['inputs']
        size = tuple(inputs.shape[2:])
        return model.encode_decode(inputs, [dict(img_shape=size, ori_shape=size, pad_shape=size)])[0]


def test_map_is_the_mean_of_the_crops(segmenter, noise):
    image = noise(160, 200)
    classes = stock_slide(segmenter, 96, 64)(image)
    total, count = torch.zeros(4, 160, 200), torch.zeros(160, 200)
    for top in slide_starts(160, 96, 64):
        for left in slide_starts(200, 96, 64):
            total[:, top:top + 96, left:left + 96] += crop_logits(segmenter.model,
                                                                  image[top:top + 96, left:left + 96])
            count[top:top + 96, left:left + 96] += 1
    assert count.min() >= 1 and count.max() >= 4
    assert classes.dtype == np.uint8 and len(np.unique(classes)) > 1
    assert (classes == (total / count).argmax(0).numpy()).mean() > 0.999
    assert segmenter.model.test_cfg['stride'] == (48, 48)  # the segmenter's own model is left alone


def test_input_is_that_of_the_segmenter(segmenter, noise, monkeypatch):
    image, asked = noise(60, 70), []
    inputs = segmenter.inputs
    monkeypatch.setattr(segmenter, 'inputs', lambda images: asked.extend(images) or inputs(images))
    stock_slide(segmenter, 96, 64)(image)
    assert len(asked) == 1 and asked[0] is image
