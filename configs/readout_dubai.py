# Few labels: classifiers that are fitted at once to the frozen backbone and to hand-made features, whatever the number
# of labelled tiles. The settings are those of the preset for few tiles
import copy

_base_ = './upernet_dubai.py'

__readout = copy.deepcopy(_base_.label_presets[0].settings)
model = __readout.model
model.decode_head.num_classes = 5
train_cfg = __readout.train_cfg
label_presets = _base_.readout_label_presets  # of --budget
