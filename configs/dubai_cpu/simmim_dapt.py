_base_ = ['./_pretrain.py', '../_base_/models/simmim_swin-nano.py', '../_base_/pretrain_runtime.py']
