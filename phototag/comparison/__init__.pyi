from .comparison import compare as compare
from .result import Comparison as Comparison
from .result import Contender as Contender
from .result import confusion as confusion
from .result import most_confused as most_confused
from .split import ComparisonConfig as ComparisonConfig
