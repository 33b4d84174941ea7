"""EGMIM: edge-guided masked image modelling for aerial imagery, on the OpenMMLab stack.

Importing the package stays cheap: it looks up which distributions are installed (milliseconds)
and imports neither torch nor OpenMMLab. Components are found through ``egmim_mm.registry``.
"""
from .environment import EnvironmentProblem, check_environment
from .version import __version__

__all__ = ['EnvironmentProblem', '__version__', 'check_environment']

check_environment()
