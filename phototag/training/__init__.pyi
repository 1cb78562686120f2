from .config import TrainingConfig as TrainingConfig
from .extension import Accuracies as Accuracies
from .extension import Extension as Extension
from .training import TrainingResult as TrainingResult
from .training import train as train
from .tuning import tune as tune
from .tuning import validation_scores as validation_scores
