from .elements import MAX_BYTES as MAX_BYTES
from .elements import XmpError as XmpError
from .embedded import embedded_packets as embedded_packets
from .packet import XmpFacts as XmpFacts
from .packet import read_packet as read_packet
