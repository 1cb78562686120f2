from .anywhere import open_photo as open_photo
from .anywhere import size_and_time as size_and_time
from .listing import list_objects as list_objects
from .listing import look_at as look_at
from .listing import names_in as names_in
from .object_file import ObjectFile as ObjectFile
