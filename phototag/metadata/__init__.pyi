from .keywords import keywords_of as keywords_of
from .sidecars import Siblings as Siblings
from .sidecars import new_sidecar as new_sidecar
from .sidecars import sidecars_of as sidecars_of
