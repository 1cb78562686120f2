from .cached import Thumbnails as Thumbnails
from .cached import ThumbnailSize as ThumbnailSize
from .disk_cache import DiskCache as DiskCache
from .thumbnailer import Thumbnailer as Thumbnailer
