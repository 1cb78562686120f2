from .catalog import Gallery as Gallery
from .cursor import GallerySort as GallerySort
from .facets.facet import Choice as Choice
from .filters import GalleryFilter as GalleryFilter
from .views import Around as Around
from .views import GalleryPage as GalleryPage
from .views import PhotoDetail as PhotoDetail
from .views import Reading as Reading
