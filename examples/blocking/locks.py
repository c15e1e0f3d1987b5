"""One client for each process, also where a server forks its workers."""

import functools
import os

from trioslock import sync


@functools.cache
def _client_of(process, url):
    return sync.connect(url)


def client(url):
    # After a fork the process id is another one, and so is the client.
    return _client_of(os.getpid(), url)
