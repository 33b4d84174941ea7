from .mean_teacher import MeanTeacherSegmentor

__all__ = ['MeanTeacherSegmentor']
