"""The runs behind docs/results/few_label_recipe.md: variants of fine-tuning with few labelled images of Dubai.

The labelled images are out of parts 1-4 of every tile, and part 5 is evaluated: parts 7-9, the test, are not touched.
One thread, one training at a time; finished ones are skipped.

    python docs/results/few_label_recipe.py run BACKBONE VARIANT ...     # BACKBONE: a work dir, or random
    python docs/results/few_label_recipe.py table                       # Markdown, from the results.json files
"""
import json
import statistics
import sys
from pathlib import Path

from jobs import train
from mmengine.config import Config

BASE, RUNS = 'configs/dubai_cpu/upernet.py', Path('work_dirs/few_label_recipe')
BUDGETS, SEEDS = (2, 5), (0, 1, 2)
HEADS = ('model.decode_head', 'model.auxiliary_head')
CROP, AUGMENTATION = 'train_dataloader.dataset.pipeline.2', 'model.data_preprocessor.augmentation'
FREEZE, WEIGHTS = 'egmim_mm.FrozenBackboneHook', 'egmim_mm.ClassWeightsHook'
GROUP_NORM = dict(_delete_=True, type='GN', num_groups=16, requires_grad=True)
# joined with + to variants; plain is the config as it is
PARTS = {
    'plain': {},
    'frozen': dict(hooks=[dict(type=FREEZE)]),
    'lpft': dict(hooks=[dict(type=FREEZE, until=0.5, warmup=0.1)]),
    'lpft75': dict(hooks=[dict(type=FREEZE, until=0.75, warmup=0.1)]),
    'balance': {'hooks': [dict(type=WEIGHTS, power=0.5)], f'{CROP}.class_centred': 0.5},
    'balance1': {'hooks': [dict(type=WEIGHTS, power=1.0)], f'{CROP}.class_centred': 1.0},
    'colour': {AUGMENTATION: dict(flip=False, turn=False, color=True)},
    'classmix': {f'{AUGMENTATION}': dict(flip=False, turn=False, color=True, classmix=0.5)},
    'ema': dict(hooks=[dict(type='EMAHook', momentum=0.02)]),
    'gn': {f'{head}.norm_cfg': GROUP_NORM for head in HEADS},
    'lovasz': {'model.decode_head.loss_decode': [
        dict(type='egmim_mm.LabelledCrossEntropyLoss'), dict(type='LovaszLoss', reduction='none')]},
    'layers': {'optim_wrapper.constructor': 'egmim_mm.SwinLayerDecay', 'optim_wrapper.paramwise_cfg.decay_rate': 0.8},
    'x2': {'train_cfg.max_iters': 200},
    'x3': {'train_cfg.max_iters': 300},
}


def variant(name: str) -> dict:
    """Settings of the parts of a name, as ``Config.merge_from_dict`` takes them."""
    settings, hooks = {}, []
    for part in name.split('+'):
        own = dict(PARTS[part])
        hooks += own.pop('hooks', [])
        settings |= own
    return settings | (dict(custom_hooks=hooks) if hooks else {})


def run(backbone: str, names: list[str]) -> None:
    start, weights = ('random', None) if backbone == 'random' else (Path(backbone).stem, backbone)
    for name in names:
        config = RUNS / 'configs' / f'{name}.py'
        config.parent.mkdir(parents=True, exist_ok=True)
        cfg = Config.fromfile(BASE)
        cfg.merge_from_dict(variant(name) | {
            'train_dataloader.dataset.include': '*image_part_00[1-4]',
            'val_dataloader.dataset.include': '*image_part_005', 'test_dataloader.dataset.include': '*image_part_005'})
        cfg.dump(config)
        for budget in BUDGETS:
            for seed in SEEDS:
                train(str(config), RUNS / start / name / f'{budget}_seed{seed}', weights, '--seed', str(seed),
                      '--cfg-options', f'train_dataloader.sampler.budget={budget}',
                      f'train_dataloader.sampler.seed={seed}')


def table() -> None:
    print('| start | variant | ' + ' | '.join(f'{b} images' for b in BUDGETS) + ' | s a run |\n|---|---|' + '---|' * 3)
    for folder in sorted(path for start in RUNS.iterdir() if start.name != 'configs' for path in start.iterdir()):
        read = {b: [json.loads(path.read_text()) for path in sorted(folder.glob(f'{b}_seed*/results.json'))]
                for b in BUDGETS}
        cells = [' '.join(f'{one["metrics"]["mIoU"]:.1f}' for one in runs) +
                 f' **{statistics.fmean(one["metrics"]["mIoU"] for one in runs):.1f}**' if runs else '' for runs in
                 read.values()]
        seconds = [one['duration_s']['training'] for runs in read.values() for one in runs]
        print(f'| {folder.parent.name} | {folder.name} | {" | ".join(cells)} | {statistics.fmean(seconds):.0f} |')


if __name__ == '__main__':
    if sys.argv[1:] == ['table']:
        table()
    elif sys.argv[1:2] == ['run'] and len(sys.argv) > 3:
        run(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(__doc__)
