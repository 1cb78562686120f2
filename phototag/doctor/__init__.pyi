from .check import State as State
from .examination import examine as examine
