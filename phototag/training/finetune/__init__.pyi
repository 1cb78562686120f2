from .finetuning import train_by_gradient as train_by_gradient
from .trainer import Trainer as Trainer
