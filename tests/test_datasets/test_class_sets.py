"""Classes, palettes and file values: the same in the class sets, the configs and mmsegmentation."""
import numpy as np
import pytest
from mmengine.config import Config
from mmseg.datasets import ISPRSDataset, LoveDADataset, PotsdamDataset, iSAIDDataset

from egmim_mm.datasets.class_sets import ISAID_16, ISPRS_5, ISPRS_6, LOVEDA_7


@pytest.mark.parametrize('config, class_set', [
    ('vaihingen', ISPRS_5), ('potsdam', ISPRS_5), ('loveda', LOVEDA_7), ('isaid', ISAID_16)])
def test_configs_have_the_class_sets(config, class_set, request):
    cfg = Config.fromfile(request.config.rootpath / f'configs/_base_/datasets/{config}.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = loader.dataset
        assert dataset.metainfo.classes == class_set['metainfo']['classes']
        assert dataset.metainfo.palette == class_set['metainfo']['palette']
        number = len(dataset.metainfo.classes)
        assert tuple(dataset.get('mask_values', range(number))) == class_set['mask_values']
        assert tuple(dataset.get('ignore_values', ())) == class_set['ignore_values']


@pytest.mark.parametrize('theirs, ours', [
    (ISPRSDataset, ISPRS_6), (PotsdamDataset, ISPRS_6), (LoveDADataset, LOVEDA_7), (iSAIDDataset, ISAID_16)])
def test_palettes_are_those_of_mmsegmentation(theirs, ours):
    assert np.array_equal(theirs.METAINFO['palette'], ours['metainfo']['palette'])
    assert len(theirs.METAINFO['classes']) == len(ours['metainfo']['classes'])


def test_five_isprs_classes_are_the_first_of_six():
    assert ISPRS_6['metainfo']['classes'][:5] == ISPRS_5['metainfo']['classes']
    assert set(ISPRS_5['mask_values']) | {6} == set(ISPRS_6['mask_values'])
    assert 6 in ISPRS_5['ignore_values']
