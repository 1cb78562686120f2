from .app import create_app as create_app
from .app import warm_up as warm_up
from .context import Context as Context
from .passwords import Password as Password
from .security import Security as Security
from .server import DEFAULT_PORT as DEFAULT_PORT
from .server import bind as bind
from .server import serve as serve
