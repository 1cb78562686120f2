from ._version import __version__ as __version__
from .evaluation import evaluate as evaluate
from .store import Query as Query
from .store import Store as Store
from .tagging import Tagger as Tagger
from .taxonomy import Taxonomy as Taxonomy
from .training import TrainingConfig as TrainingConfig
from .training import train as train
