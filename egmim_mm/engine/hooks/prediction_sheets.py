"""Sheets of the images a model does worst on, after a test."""
import heapq
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from egmim_mm.datasets.plain_tiles import without_augmentation
from egmim_mm.pictures.predictions import error_share, prediction_sheet, sheet_name
from egmim_mm.pictures.training_data import display_image
from egmim_mm.records import whole_file
from egmim_mm.registry import HOOKS


@HOOKS.register_module()
class PredictionSheetsHook(Hook):
    """After a test, draw image, truth, prediction and errors of the worst images, one PNG file each.

    The worst image has the largest share of wrong pixels among its labelled ones; it is number 0001. Images without a
    label come last. In a run of several processes the worst of all are drawn.

    Args:
        out_dir: Folder for the sheets; it is made.
        num: Most sheets. The predictions of so many images are kept in memory.

    Raises:
        ValueError: ``num`` is below 1; when the test starts, the folder holds sheets of an earlier test; with the
            first image, the data has no labels.
    """

    def __init__(self, out_dir: str, num: int = 50) -> None:
        if num < 1:
            raise ValueError(f'num of sheets is {num}: give 1 or more')
        self.out_dir, self.num = Path(out_dir), num
        self._worst: list[tuple] = []  # heap of (share or -1, running number, path, name, prediction, truth)
        self._order = count()

    def before_test(self, runner: Runner) -> None:
        if is_main_process() and any(self.out_dir.glob('[0-9][0-9][0-9][0-9]_*.png')):
            raise ValueError(f'{self.out_dir} holds sheets of an earlier test: give another folder, or empty it')

    def before_test_epoch(self, runner: Runner) -> None:
        self._worst = []

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                        outputs: Sequence | None = None) -> None:
        """Keep the images of this batch that are among the worst so far."""
        for sample in outputs or ():
            if 'gt_sem_seg' not in sample:
                raise ValueError(f'{sample.img_path} comes without labels: sheets show truth and errors, so the test '
                                 'pipeline must load the masks (egmim_mm.LoadTileMask)')
            prediction, truth = (item.data.squeeze(0).cpu().numpy().astype(np.uint8)
                                 for item in (sample.pred_sem_seg, sample.gt_sem_seg))
            share = error_share(prediction, truth)
            entry = (-1.0 if share is None else share, next(self._order), sample.img_path,
                     sample.get('tile_name') or sample.img_path, prediction, truth)
            if len(self._worst) < self.num:
                heapq.heappush(self._worst, entry)
            else:
                heapq.heappushpop(self._worst, entry)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the sheets."""
        # samplers give an image to two processes to make their shares equal: the path tells them apart
        worst = {entry[2]: entry for part in all_gather_object(self._worst) for entry in part}
        if not is_main_process():
            return
        dataset = runner.test_dataloader.dataset
        images = {dataset.get_data_info(i)['img_path']: i for i in range(len(dataset))}
        loader = without_augmentation(dataset)
        model = runner.cfg.model.get('module') or runner.cfg.model  # with --tta the model is inside
        is_bgr = (model.get('data_preprocessor') or {}).get('bgr_to_rgb', False)
        self.out_dir.mkdir(parents=True, exist_ok=True)
        ranked = sorted(worst.values(), key=lambda entry: (-entry[0], entry[3]))[:self.num]
        for rank, (share, _, path, name, prediction, truth) in enumerate(ranked, 1):
            image = display_image(loader[images[path]]['img'], is_bgr)
            sheet = prediction_sheet(name, image, prediction, truth, dataset.metainfo)
            with whole_file(self.out_dir / sheet_name(rank, None if share < 0 else share, name)) as draft:
                Image.fromarray(sheet).save(draft)
        runner.logger.info(f'{len(ranked)} sheets of the worst images in {self.out_dir}')
