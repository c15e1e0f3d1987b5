"""The log of a job, for readers that come at any time.

python job_log.py run NAME COMMAND...    runs a command; its output is the log
python job_log.py follow NAME            prints the log until the job ends
"""

import subprocess
import sys

import streams


def run(name, command):
    """Run a command, and append its output as it comes; return its exit code."""
    writer = streams.Writer(f"jobs/{name}")
    print(f"the log is at {writer.url}", flush=True)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as job:
        for line in job.stdout:
            writer.append(line)
    writer.append(f"exit code {job.returncode}\n")
    writer.close()
    return job.returncode


def main(action, name, *command):
    if action == "run":
        return run(name, command)
    for text in streams.follow(f"jobs/{name}"):
        print(text, end="", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
