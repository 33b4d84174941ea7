# Shared by pretraining and fine-tuning. Loops count iterations, never epochs.
randomness = dict(seed=0)  # fixed by default: a run can be repeated; --seed changes it
log_level = 'INFO'
log_processor = dict(by_epoch=False)
load_from = None
resume = False
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl'))
default_hooks = dict(
    runtime_info=dict(type='egmim_mm.StepRecordsHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='egmim_mm.SafeCheckpointHook', interval=1000, by_epoch=False),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    iteration_seed=dict(type='egmim_mm.IterationSeedHook'),
    global_loss=dict(type='egmim_mm.GlobalLossHook'),
    finite_loss=dict(type='egmim_mm.FiniteLossHook'),
    results=dict(type='egmim_mm.ResultsHook'))
