"""The error of a command that cannot be meant as it stands."""


class LaunchError(RuntimeError):
    """A command or config that contradicts itself or its data, or would overwrite an earlier run."""
