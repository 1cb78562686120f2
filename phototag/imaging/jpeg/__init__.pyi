from .mending import check_supported as check_supported
from .mending import ends_before_its_pixels as ends_before_its_pixels
from .mending import exif_of as exif_of
from .mending import frame_size as frame_size
from .mending import has_end as has_end
from .mending import with_end as with_end
from .reader import MEANS as MEANS
from .reader import reduced as reduced
