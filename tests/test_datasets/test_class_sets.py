"""Classes, palettes and file values: the same in the class sets and in mmsegmentation."""
import numpy as np
import pytest
from mmseg.datasets import ISPRSDataset, LoveDADataset, PotsdamDataset, iSAIDDataset

from egmim_mm.datasets.class_sets import ISAID_16, ISPRS_5, ISPRS_6, LOVEDA_7


@pytest.mark.parametrize('theirs, ours', [
    (ISPRSDataset, ISPRS_6), (PotsdamDataset, ISPRS_6), (LoveDADataset, LOVEDA_7), (iSAIDDataset, ISAID_16)])
def test_palettes_are_those_of_mmsegmentation(theirs, ours):
    assert np.array_equal(theirs.METAINFO['palette'], ours['metainfo']['palette'])
    assert len(theirs.METAINFO['classes']) == len(ours['metainfo']['classes'])


def test_five_isprs_classes_are_the_first_of_six():
    assert ISPRS_6['metainfo']['classes'][:5] == ISPRS_5['metainfo']['classes']
    assert set(ISPRS_5['mask_values']) | {6} == set(ISPRS_6['mask_values'])
    assert 6 in ISPRS_5['ignore_values']
