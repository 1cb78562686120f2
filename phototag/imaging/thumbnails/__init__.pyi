from .disk_cache import DiskCache as DiskCache
from .thumbnailer import Reducer as Reducer
