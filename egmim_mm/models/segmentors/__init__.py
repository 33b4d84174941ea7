from .mean_teacher import MeanTeacherSegmentor
from .student_and_teacher import PARTS

__all__ = ['PARTS', 'MeanTeacherSegmentor']
