from .facts import read_facts as read_facts
from .facts import read_header as read_header
