from .labels import SAMPLED as SAMPLED
from .labels import collect as collect
