"""Settings of the optimizer as a config plans them, for a run that is resumed with other ones."""
import copy

from mmengine.optim import OptimWrapper, _ParamScheduler

from egmim_mm.checkpoints import CheckpointError


class OptimizationPlan:
    """What a new run of this config would begin with: its groups' settings and its schedulers' states.

    A checkpoint brings those of the run so far along with the moments of the optimizer; :meth:`follow` puts the
    planned ones in their place.

    Args:
        optim_wrapper: As built from the config, its learning rates scaled, before anything is loaded.
        schedulers: Of this wrapper.
    """

    def __init__(self, optim_wrapper: OptimWrapper, schedulers: list[_ParamScheduler] | None) -> None:
        self.optim_wrapper, self.schedulers = optim_wrapper, schedulers or []
        self.groups = [{name: value for name, value in group.items() if name != 'params'}
                       for group in optim_wrapper.param_groups]
        self.states = [copy.deepcopy(scheduler.state_dict()) for scheduler in self.schedulers]

    def follow(self, iterations: int, epochs: int) -> None:
        """Set the optimizer and the schedulers to where the planned run would stand.

        The schedules are stepped through, so that a learning rate is what it would have been, to the last bit.

        Args:
            iterations: Of the run so far.
            epochs: Of the run so far; 0 where they are not counted.

        Raises:
            CheckpointError: A schedule follows the metrics of the run, which are not known any more.
        """
        if any(getattr(scheduler, 'need_val_args', False) for scheduler in self.schedulers):
            raise CheckpointError('--resume: a schedule that follows metrics (ReduceOnPlateau) cannot be changed: '
                                  'give the optimizer, the schedule and the length that the run began with')
        for group, planned in zip(self.optim_wrapper.param_groups, self.groups, strict=True):
            group.update(planned)
        for scheduler, state in zip(self.schedulers, self.states, strict=True):
            scheduler.load_state_dict(state)
        self.optim_wrapper._global_step = iterations  # else the schedulers warn that no step was made before theirs
        for iteration in range(1, iterations + 1):
            epoch_ends = epochs > 0 and iteration % (iterations // epochs) == 0
            for scheduler in self.schedulers:
                if not scheduler.by_epoch or epoch_ends:
                    scheduler.step()
