"""A script that makes a report, one at a time over all machines.

python report.py slock://127.0.0.1:5658
"""

import sys

from trioslock import LockLost, sync


def make_report(client, pages):
    with client.lock("report", lease=30) as grant:
        for page in range(pages):
            grant.check()  # raises LockLost: another one may make the report by now
            print(f"page {page}")


if __name__ == "__main__":
    with sync.open_client(sys.argv[1]) as client:
        try:
            make_report(client, 3)
        except LockLost as error:
            sys.exit(f"given up: {error}")
