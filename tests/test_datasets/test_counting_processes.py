"""Two processes of a distributed run count masks: one works, the other waits for its lock and for no collective."""
import multiprocessing
import os
import signal
import time
from datetime import timedelta

import numpy as np
import pytest
import torch.distributed as dist

from egmim_mm.datasets import LabelBudgetSampler, SegmentationTiles, class_counts
from egmim_mm.storage import mask_values

MASKS = 12
PATIENCE = 2  # s, after which a collective gives up; counting takes longer


def build(folder):
    return SegmentationTiles(str(folder / 'data'), img_suffix='.png', metainfo=dict(classes=('a', 'b')))


@pytest.fixture
def slow_masks(tmp_path, write_image, monkeypatch):
    """12 tiles, of which the processes note each mask that they read, in a third of a second."""
    for index in range(MASKS):
        write_image(tmp_path / f'data/images/{index}.png', np.zeros((8, 8, 3), np.uint8))
        write_image(tmp_path / f'data/masks/{index}.png', np.eye(8, dtype=np.uint8))
    original = mask_values.read_mask

    def slow(path, *rest):
        time.sleep(PATIENCE / 6)
        with open(tmp_path / 'reads', 'a') as file:
            file.write(f'{os.getpid()} {path}\n')
        return original(path, *rest)

    monkeypatch.setattr(mask_values, 'read_mask', slow)
    monkeypatch.setattr(class_counts, 'CHUNK', 1)
    monkeypatch.setenv('LOKY_MAX_CPU_COUNT', '1')
    return tmp_path


def train(rank, folder):
    """What a process of a run does first: join the others, build its sampler, then meet them in a collective."""
    dist.init_process_group('gloo', f'file://{folder}/store', timeout=timedelta(seconds=PATIENCE), rank=rank,
                            world_size=2)
    sampler = LabelBudgetSampler(build(folder), budget=3, order_seed=0)
    names = [None, None]
    dist.all_gather_object(names, sampler.tile_names)
    (folder / f'names_{rank}').write_text('\n'.join(names[0]) if names[0] == names[1] else 'different')
    os._exit(0)


def start(folder):
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=train, args=(rank, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    return processes


def reads(folder):
    lines = (folder / 'reads').read_text().splitlines() if (folder / 'reads').exists() else []
    return [int(line.split()[0]) for line in lines], [line.split()[1] for line in lines]


def test_none_waits_in_a_collective_and_each_mask_is_read_once(slow_masks):
    for process in start(slow_masks):
        process.join(60)
        assert process.exitcode == 0
    readers, paths = reads(slow_masks)
    assert len(set(readers)) == 1 and len(paths) == len(set(paths)) == MASKS
    assert (slow_masks / 'names_0').read_text().count('\n') == 2
    assert (slow_masks / 'names_0').read_text() == (slow_masks / 'names_1').read_text()


def test_what_a_killed_process_counted_is_kept_and_the_other_goes_on(slow_masks):
    processes = start(slow_masks)
    deadline = time.monotonic() + 60
    while len(reads(slow_masks)[0]) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    counting = reads(slow_masks)[0][0]
    os.kill(counting, signal.SIGKILL)
    for process in processes:
        process.join(60)
    readers, paths = reads(slow_masks)
    other, = {process.pid for process in processes} - {counting}
    # the mask that was being read when it was killed may have been noted, or written to the journal, or neither
    assert MASKS - 5 - 1 <= readers.count(other) <= MASKS - 3 and len(set(paths)) == MASKS
    files = sorted(path.suffix for path in (slow_masks / 'data/.egmim_cache').iterdir())
    assert files == ['.npy'] and (build(slow_masks).class_pixels() == [56, 8]).all()
    assert len(reads(slow_masks)[1]) == len(paths)  # from the cache
