# Few labels on a CPU: ../readout_dubai.py with the frozen backbone of egmim_dapt.py
import copy

_base_ = './upernet.py'

__readout = copy.deepcopy(_base_.label_presets[0].settings)
model = __readout.model
model.decode_head.num_classes = 5
train_cfg = __readout.train_cfg
label_presets = _base_.readout_label_presets  # of --budget
