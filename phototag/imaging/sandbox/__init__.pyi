from .decoder import Decoder as Decoder
from .pool import WorkerPool as WorkerPool
from .pool import memory_limit as memory_limit
from .process import worker_command as worker_command
from .worker import PICTURE as PICTURE
from .worker import Admit as Admit
from .worker import Limits as Limits
from .worker import serve as serve
