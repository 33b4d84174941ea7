"""Loaders on the machine that is there."""
import pytest
from mmengine.config import Config

from egmim_mm import cores
from egmim_mm.engine import loaders
from egmim_mm.engine.loaders import fit_loaders


def config(workers=4, dataset='egmim_mm.UnlabeledTiles', **options):
    loader = dict(num_workers=workers, persistent_workers=True, dataset=dict(type=dataset), **options)
    return Config(dict(train_dataloader=loader, val_dataloader=None))


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(loaders, 'print_log', lambda text, logger: lines.append(text))
    return lines


@pytest.fixture
def machine(monkeypatch):
    """Function: a machine with that many cores and these settings of a launcher."""

    def set_up(number, **environment):
        for name in ('LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE', 'SLURM_CPUS_PER_TASK'):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(cores.joblib, 'cpu_count', lambda: number)

    return set_up


@pytest.mark.parametrize('number, environment, expected', [
    (8, {}, 8), (8, dict(LOCAL_WORLD_SIZE=3), 2), (2, dict(LOCAL_WORLD_SIZE=4), 1),
    (8, dict(OMPI_COMM_WORLD_LOCAL_SIZE=2), 4), (64, dict(SLURM_CPUS_PER_TASK=6), 6)])
def test_each_process_has_its_share_of_the_cores(machine, number, environment, expected):
    machine(number, **environment)
    assert cores.cores_per_process() == expected


def test_no_more_workers_than_cores_and_the_log_says_so(machine, said):
    machine(4, LOCAL_WORLD_SIZE=2)
    cfg = config()
    fit_loaders(cfg, gpu=False)
    assert cfg.train_dataloader.num_workers == 2 and cfg.train_dataloader.persistent_workers
    assert 'pin_memory' not in cfg.train_dataloader
    assert said == ['Loader workers: 2 instead of 4 for the train_dataloader, as this process has 2 cores']
    machine(64)
    cfg = config()
    fit_loaders(cfg, gpu=False)
    assert cfg.train_dataloader.num_workers == 4 and len(said) == 1


def test_pinned_memory_on_a_gpu_unless_the_config_says_otherwise(machine, said):
    machine(8)
    for stated, expected in (({}, True), (dict(pin_memory=False), False)):
        cfg = config(**stated)
        fit_loaders(cfg, gpu=True)
        assert cfg.train_dataloader.pin_memory is expected
    cfg = config(workers=0)
    fit_loaders(cfg, gpu=False)
    assert cfg.train_dataloader.num_workers == 0 and not cfg.train_dataloader.persistent_workers and not said


@pytest.mark.parametrize('dataset', ['CustomDataset', 'mmseg.LoveDADataset', None])
def test_other_data_sets_are_left_alone(machine, said, dataset):
    machine(1)
    cfg = config(dataset=dataset)
    before = cfg.to_dict()
    fit_loaders(cfg, gpu=True)
    assert cfg.to_dict() == before and not said
