"""A real SLURM of two nodes, both this machine, for as long as a test needs it."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = Path("/etc/slurm")  # Debian's; a job step does not inherit SLURM_CONF
FILES = ("slurm.conf", "gres.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "sinfo")
GPUS = 4
SECOND_NODE, PAIR = "localhost", "pair"  # a node whose name leads here, and the partition of both
PATIENCE_SECONDS = 300  # however busy the machine is
READY = "ready"

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=5
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=3600
ReturnToService=2
KillWait=20
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/finished
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 Gres=gpu:fake:{gpus} State=UNKNOWN
NodeName={second} NodeHostname={host} NodeAddr=127.0.0.1 Port=6820 CPUs=8 RealMemory=32000
PartitionName=cpu Nodes={host} Default=YES
PartitionName=gpu Nodes={host}
PartitionName={pair} Nodes={host},{second}
"""
GRES = "NodeName={host} Name=gpu Type=fake File={folder}/gpu[0-{last}]\n"


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install slurmctld slurmd slurm-client)"
    if os.geteuid() != 0:
        return "only root can start a slurmd"
    if (CONFIGURATION / FILES[0]).exists():
        return f"{CONFIGURATION / FILES[0]} is there already: this machine has a SLURM of its own"
    return None


@dataclass(frozen=True)
class Cluster:
    """A running cluster. What finished stays known to its controller until it stops."""

    folder: Path
    host: str

    def command(self, *words: str) -> str:
        """What a SLURM command prints."""
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """All jobs that were ever submitted, as `scontrol` shows them."""
        lines = self.command("scontrol", "--oneliner", "--details", "show", "jobs").splitlines()
        return [_fields(line) for line in lines if line.startswith("JobId=")]

    def finished(self) -> list[dict[str, str]]:
        """The accounting records: a line for each time that a job ended."""
        path = self.folder / "finished"
        return [_fields(line) for line in path.read_text().splitlines()] if path.exists() else []

    def node_state(self, node: str = "") -> str:
        """A node's, by default the first one's, such as `idle`, `mixed`, `draining`."""
        named = f"--nodes={node or self.host}"
        return self.command("sinfo", "--noheader", "--Node", "--format=%T", named).split()[0]

    def logs(self) -> str:
        """The last lines of the daemons."""
        paths = sorted(self.folder.glob("*.log"))
        return "".join(f"\n--- {path.name}\n{path.read_text()[-2000:]}" for path in paths)


def _fields(line: str) -> dict[str, str]:
    return dict(re.findall(r"(\w[\w/:]*)=(\S*)", line))


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster that is gone afterwards, even if this process is killed.

    A second process keeps it: it stops everything when its input ends.
    """
    words = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        line = keeper.stdout.readline()
        if line.strip() != READY:
            raise RuntimeError(line + keeper.stdout.read())
        try:
            yield Cluster(folder, host())
        finally:
            keeper.stdin.close()


def main() -> None:
    """Starts a cluster, says so, and stops it at the end of the input."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(sys.argv[1])
    try:
        with _started(Cluster(folder, host())):
            print(READY, flush=True)
            sys.stdin.read()
    except Exception as error:
        print(error, flush=True)
        raise


def host() -> str:
    """The name that SLURM knows this machine by."""
    return socket.gethostname().partition(".")[0]


@contextlib.contextmanager
def _started(cluster: Cluster) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.callback(_forget)
        _configure(cluster)
        for words in _daemons(cluster):
            stack.enter_context(_daemon(cluster.folder, words))
        for node in (cluster.host, SECOND_NODE):
            _until(lambda node=node: cluster.node_state(node) == "idle", cluster)
        stack.callback(_cancel_all, cluster)
        yield


def _configure(cluster: Cluster) -> None:
    folder, last = cluster.folder, GPUS - 1
    for name in ("state", f"spool-{cluster.host}", f"spool-{SECOND_NODE}"):
        (folder / name).mkdir()
    for index in range(GPUS):
        os.mknod(folder / f"gpu{index}", 0o20666, os.makedev(1, 3))  # as /dev/null
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    CONFIGURATION.mkdir(exist_ok=True)
    texts = [
        CONF.format(host=cluster.host, second=SECOND_NODE, pair=PAIR, folder=folder, gpus=GPUS),
        GRES.format(host=cluster.host, folder=folder, last=last),
    ]
    for name, text in zip(FILES, texts, strict=True):
        (CONFIGURATION / name).write_text(text)


def _forget() -> None:
    for name in FILES:
        (CONFIGURATION / name).unlink(missing_ok=True)


def _daemons(cluster: Cluster) -> list[list[str]]:
    folder = cluster.folder
    files = ("socket", "key-file", "pid-file", "log-file", "seed-file")
    ends = ("socket", "key", "pid", "log", "seed")
    munge = [f"--{name}={folder}/munge.{end}" for name, end in zip(files, ends, strict=True)]
    nodes = [["slurmd", "-D", "-N", node] for node in (cluster.host, SECOND_NODE)]
    return [["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"], *nodes]


@contextlib.contextmanager
def _daemon(folder: Path, words: list[str]) -> Iterator[None]:
    name = f"{words[0]}-{words[-1]}" if words[0] == "slurmd" else words[0]
    with (folder / f"{name}.out.log").open("w") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    try:
        if words[0] == "munged":
            _until((folder / "munge.socket").exists, None)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _cancel_all(cluster: Cluster) -> None:
    """Leaves no job behind whose processes would outlive the cluster."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    subprocess.run(["scancel", "--user", user, "--signal=KILL", "--full"], check=False)
    subprocess.run(["scancel", "--user", user], check=False)
    _until(lambda: not cluster.command("squeue", "--noheader"), cluster)


def _until(holds: Callable[[], bool], cluster: Cluster | None) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(AssertionError, IndexError):
            if holds():
                return
        if time.monotonic() > end:
            raise TimeoutError(cluster.logs() if cluster else "munged does not listen")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
