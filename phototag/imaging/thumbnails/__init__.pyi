from .cached import Thumbnails as Thumbnails
from .cached import ThumbnailSize as ThumbnailSize
from .thumbnailer import Thumbnailer as Thumbnailer
