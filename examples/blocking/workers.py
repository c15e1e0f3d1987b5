"""Threads that share one client: at most two of them work at a time.

python workers.py slock://127.0.0.1:5658
"""

import sys
from concurrent.futures import ThreadPoolExecutor

from trioslock import sync


def work(client, number):
    with client.semaphore("workers", 2):
        return number * number


if __name__ == "__main__":
    with sync.open_client(sys.argv[1]) as client, ThreadPoolExecutor(8) as pool:
        print(sum(pool.map(lambda number: work(client, number), range(8))))
