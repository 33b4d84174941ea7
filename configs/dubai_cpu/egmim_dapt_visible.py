_base_ = ['./_pretrain.py', '../_base_/models/egmim_swin-nano_visible.py', '../_base_/pretrain_runtime.py']
