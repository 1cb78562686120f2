<<<<<<< HEAD
from .file_writing import ChangedMeanwhileError as ChangedMeanwhileError
from .file_writing import Rewrite as Rewrite
from .file_writing import SeenFile as SeenFile
from .file_writing import check_replaceable as check_replaceable
from .file_writing import read_seen as read_seen
from .file_writing import rewrite_all as rewrite_all
from .keyword_reader import KeywordReader as KeywordReader
from .keywords import Written as Written
from .keywords import embedded_lists as embedded_lists
=======
from .facts import read_facts as read_facts
from .facts import read_header as read_header
>>>>>>> facts
from .keywords import keywords_of as keywords_of
from .sidecars import Siblings as Siblings
from .sidecars import new_sidecar as new_sidecar
from .sidecars import sidecars_of as sidecars_of
from .xmp import HIERARCHICAL as HIERARCHICAL
from .xmp import KEYWORD_PROPERTIES as KEYWORD_PROPERTIES
from .xmp import SUBJECT as SUBJECT
from .xmp import Edit as Edit
from .xmp import KeywordProperty as KeywordProperty
from .xmp import XmpError as XmpError
from .xmp import add_keywords as add_keywords
from .xmp import comparable as comparable
from .xmp import edit_jpeg as edit_jpeg
from .xmp import embedded_packets as embedded_packets
from .xmp import fresh_packet as fresh_packet
from .xmp import jpeg_packet as jpeg_packet
from .xmp import keywords_in as keywords_in
from .xmp import pack_splices as pack_splices
from .xmp import remove_keywords as remove_keywords
from .xmp import replace_jpeg_packet as replace_jpeg_packet
from .xmp import revert as revert
from .xmp import sidecar_from as sidecar_from
from .xmp import unpack_splices as unpack_splices
