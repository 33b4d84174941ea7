"""MMSegmentation's slide inference as it is compared with: the plain mean of its crops' logits."""
import numpy as np
import torch

from egmim_mm.inference.stock_slide import slide_starts, stock_slide


class Averaged:
    """What :func:`stock_slide` needs of a Segmenter, with MMSegmentation's own segmentor."""

    def __init__(self):
        from mmengine.registry import DefaultScope

        from egmim_mm.benchmark.predict_memory import TOY
        from egmim_mm.registry import MODELS
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmseg'):
            self.model = MODELS.build(TOY['model']).eval().to(memory_format=torch.channels_last)
        self.bands = 3

    def logits(self, crop):
        tensor = torch.from_numpy(np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)))
        with torch.inference_mode():
            inputs = self.model.data_preprocessor(dict(inputs=[tensor]), False)['inputs']
            size = tuple(inputs.shape[2:])
            return self.model.encode_decode(inputs, [dict(img_shape=size, ori_shape=size, pad_shape=size)])[0]


def test_map_is_the_mean_of_the_crops():
    segmenter, image = Averaged(), np.random.default_rng(0).integers(0, 256, (160, 200, 3), np.uint8)
    found = stock_slide(segmenter, 96, 64)(image)
    total, count = torch.zeros(4, 160, 200), torch.zeros(160, 200)
    for top in slide_starts(160, 96, 64):
        for left in slide_starts(200, 96, 64):
            total[:, top:top + 96, left:left + 96] += segmenter.logits(image[top:top + 96, left:left + 96])
            count[top:top + 96, left:left + 96] += 1
    assert count.min() >= 1 and count.max() >= 4
    assert found.dtype == np.uint8 and len(np.unique(found)) > 1
    assert (found == (total / count).argmax(0).numpy()).mean() > 0.999
    assert 'stride' not in (segmenter.model.test_cfg or {})  # the segmenter's own model is left alone
