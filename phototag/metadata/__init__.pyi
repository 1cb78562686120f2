from .facts import describe as describe
from .facts import read_facts as read_facts
from .facts import read_header as read_header
from .keywords import keywords_of as keywords_of
from .sidecars import Siblings as Siblings
from .sidecars import new_sidecar as new_sidecar
from .sidecars import sidecars_of as sidecars_of
