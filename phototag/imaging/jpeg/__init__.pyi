from .reader import MEANS as MEANS
from .reader import reduced as reduced
