"""A real run of three iterations on a toy model, then a test of its checkpoint."""
import json

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from egmim_mm.evaluation import ResultsHook, SegmentationMetric
from egmim_mm.evaluation.per_image import read_per_image
from egmim_mm.evaluation.results_document import describe_evaluation
from egmim_mm.records.provenance import file_sha256

CLASSES = ('road', 'roof', 'tree')


class ToyTiles(BaseDataset):
    METAINFO = dict(classes=CLASSES)

    def load_data_list(self):
        return [dict(index=index) for index in range(4)]

    def prepare_data(self, index):
        generator = torch.Generator().manual_seed(index)
        label = torch.randint(0, 2, (8, 8), generator=generator)  # the third class never occurs
        image = label[None].float() + 0.3 * torch.randn((1, 8, 8), generator=generator)
        return dict(inputs=image, data_samples=label)


class ToyModel(BaseModel):

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        images, labels = torch.stack(list(inputs)), torch.stack(list(data_samples))
        logits = self.layer(images)
        if mode == 'loss':
            return dict(loss=F.cross_entropy(logits, labels))
        guess = logits[:, :2].argmax(1)
        return [dict(pred_sem_seg=dict(data=one[None]), gt_sem_seg=dict(data=label[None]), img_path='x')
                for one, label in zip(guess, labels)]


def make_runner(work_dir, load_from=None, resume=False, max_iters=3, **changes):
    loader = dict(batch_size=2, num_workers=0, dataset=dict(type='ToyTiles'),
                  sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='pseudo_collate'))
    cfg = Config(dict(
        train_dataloader=dict(loader, sampler=dict(type='InfiniteSampler', shuffle=False)),
        val_dataloader=loader, test_dataloader=loader,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=3),
        val_cfg=dict(), test_cfg=dict(), model=dict(type='ToyModel'), work_dir=str(work_dir), **changes))
    evaluator = [SegmentationMetric()]
    return Runner(
        model=ToyModel(), work_dir=str(work_dir), cfg=cfg, load_from=load_from, resume=resume,
        train_dataloader=dict(cfg.train_dataloader, dataset=ToyTiles()),
        val_dataloader=dict(loader, dataset=ToyTiles()), test_dataloader=dict(loader, dataset=ToyTiles()),
        train_cfg=cfg.train_cfg, val_cfg=dict(), test_cfg=dict(), val_evaluator=evaluator,
        test_evaluator=evaluator, optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3)),
        custom_hooks=[ResultsHook()], randomness=dict(seed=5), default_scope='mmengine',
        experiment_name=f'{work_dir.name}_{max_iters}_{resume}', log_level='ERROR')


def read(work_dir):
    return json.loads((work_dir / 'results.json').read_text())


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('trained')
    make_runner(work_dir, backbone_source=dict(path='dapt.pth', sha256='ab' * 32)).train()
    return work_dir


def test_training_leaves_metrics_protocol_and_origin(trained):
    results = read(trained)
    assert results['phase'] == 'val' and results['iteration'] == 3
    counts = torch.tensor(results['confusion']['counts'])
    hit = counts.diag()
    iou = (100 * hit / (counts.sum(0) + counts.sum(1) - hit))[:2]
    assert counts.sum() == 4 * 64
    assert results['metrics']['mIoU'] == pytest.approx(float(iou.mean()))
    assert results['metrics']['IoU/roof'] == pytest.approx(float(iou[1]))
    assert results['metrics']['IoU/tree'] is None  # neither true nor predicted
    low, high = results['confidence']['intervals']['mIoU']
    assert low <= results['metrics']['mIoU'] <= high
    assert results['confidence']['images'] == 4 and results['confidence']['intervals']['IoU/tree'] == [None, None]
    assert results['units']['mIoU'] == '%' and results['units']['kappa'] == '1'
    names, per_image = read_per_image(trained / results['per_image'])
    assert names == ['0', '1', '2', '3'] and per_image['confusion'].sum((1, 2)).tolist() == [64] * 4
    assert per_image['confusion'].sum(0).tolist() == results['confusion']['counts'] and results['strategy'] is None
    assert results['protocol']['classes'] == list(CLASSES)
    training = results['protocol']['training']
    assert (training['seed'], training['max_iters'], training['global_batch']) == (5, 3, 2)
    assert (training['optimizer_steps'], training['images_seen']) == (3, 6)
    assert training['split']['num_tiles'] == 4 and training['labels']['tiles'] is None
    assert results['backbone_source'] == dict(path='dapt.pth', sha256='ab' * 32)
    assert results['train_losses']['loss'] > 0
    assert results['duration_s']['training'] > 0 and results['versions']['torch']


def test_images_in_random_order_have_no_counts_of_their_own(tmp_path):
    """Nobody knows which count is that of which image."""
    metric = SegmentationMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    metric.per_image = dict(confusion=torch.ones(4, 3, 3, dtype=torch.int64).numpy())
    evaluator, kept = Evaluator([metric]), {}
    for shuffled in (False, True):
        kept[shuffled] = describe_evaluation(evaluator, ToyTiles(), None, {}, tmp_path, shuffled)['per_image']
        assert (tmp_path / 'per_image.npz').exists() != shuffled
    assert kept == {False: 'per_image.npz', True: None}


def test_test_repeats_what_the_checkpoint_was_trained_on(trained, tmp_path):
    checkpoint = trained / 'iter_3.pth'
    make_runner(tmp_path, load_from=str(checkpoint)).test()
    results, before = read(tmp_path), read(trained)
    assert results['phase'] == 'test' and results['iteration'] == 3
    assert results['metrics'] == before['metrics']  # validation and test set are the same here
    assert results['protocol']['training'] == before['protocol']['training']
    assert results['backbone_source'] == before['backbone_source']
    assert results['checkpoint'] == dict(path=str(checkpoint), sha256=file_sha256(checkpoint))


def test_checkpoint_with_the_facts_loads_safely(trained):
    meta = torch.load(trained / 'iter_3.pth', weights_only=False)['meta']['egmim_mm']
    assert json.loads(json.dumps(meta)) == meta  # nothing but plain values
    assert meta['train_s'] > 0


def test_resume_adds_up_the_time_and_keeps_the_origin(trained):
    earlier = torch.load(trained / 'iter_3.pth', weights_only=False)['meta']['egmim_mm']['train_s']
    make_runner(trained, load_from=str(trained / 'iter_3.pth'), resume=True, max_iters=6).train()
    results = read(trained)
    assert results['iteration'] == 6
    assert results['duration_s']['training'] > earlier
    assert results['backbone_source']['path'] == 'dapt.pth'


def test_new_run_from_weights_names_them_and_starts_its_own_clock(trained, tmp_path):
    checkpoint = str(trained / 'iter_3.pth')
    runner = make_runner(tmp_path, load_from=checkpoint)
    hook = next(hook for hook in runner.hooks if isinstance(hook, ResultsHook))
    runner.train()
    assert hook._earlier_s == 0
    assert read(tmp_path)['backbone_source'] == dict(path=checkpoint, sha256=file_sha256(checkpoint), lineage=[])


def test_training_without_validation_still_leaves_a_file(tmp_path):
    hook = ResultsHook('summary.json')
    runner = make_runner(tmp_path)
    runner._hooks = [item for item in runner._hooks if not isinstance(item, ResultsHook)] + [hook]
    runner._val_loop = None
    runner.train()
    results = json.loads((tmp_path / 'summary.json').read_text())
    assert results['phase'] == 'train' and results['metrics'] == {} and results['iteration'] == 3
    assert results['protocol']['classes'] == list(CLASSES) and results['protocol']['evaluation'] is None
