"""`python -m loadtest.demo`.

Environment: `ONCE=1` leaves after the load, with 0 only if everything was right. `MYSQL=9.7` takes MySQL 9.7
instead of MariaDB.
"""

import signal
import sys


def start() -> int:
    # Ctrl-C while the rest is being imported ends us without a traceback; there is nothing to clean up yet.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from loadtest.demo.run import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
