from .queue_executor import QueueExecutor as QueueExecutor
from .queue_worker import QueueWorker as QueueWorker
from .ray_executor import RayExecutor as RayExecutor
from .ray_session import RaySession as RaySession
from .worker_setup import WorkerSetup as WorkerSetup
