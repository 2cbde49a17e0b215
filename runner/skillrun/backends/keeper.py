"""Keeps one container's run folder complete, whether or not anybody is watching.

Started by the Docker backend as ``python -m skillrun.backends.keeper RUN_FOLDER``, in a session of its own. It copies
the container's output into ``stdout.log`` as it comes, outlives restarts of the engine, holds the locks of the run's
GPUs (as open files that it inherits), and at the end collects the result. Killing it loses nothing: whoever looks at
the run later collects instead.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from skillrun.backends.docker_end import ENDED, collect, copy_log, keeping
from skillrun.engine import connect
from skillrun.errors import BackendError
from skillrun.runfolder import RunFolder

RETRY_S = 1.0
LAST_TRIES = 60


def keep(run: RunFolder) -> None:
    """Follow the run's container until it is collected, or gone, or nobody wants the run any more.

    An engine that went away after the end was written down is waited for a minute only: what is left to do then is to
    remove the container, which ``skillrun runs rm`` does as well.
    """
    from docker.errors import DockerException, NotFound
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    failures, container = 0, None
    while run.record.exists() and not (run.exit.exists() and failures > LAST_TRIES):
        try:
            handle = run.read_record()["handle"]
            container = connect(handle["engine"]).containers.get(handle["container"])
            copy_log(container, run, follow=True)
            container.reload()
            if container.status in ENDED:
                collect(container, run, engine_restarted=failures > 0)
                return
        except NotFound:
            return
        except (BackendError, DockerException, RequestException, HTTPError, ConnectionError):
            failures += 1
        except OSError:  # no room for the log or the result; whoever looks at the ended run says so
            if container is not None and container.status in ENDED:
                raise
        time.sleep(RETRY_S)


def main(folder: Path) -> None:
    """Keep a run, unless another keeper does."""
    run = RunFolder(folder)
    with keeping(run) as mine:
        if mine:
            keep(run)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
