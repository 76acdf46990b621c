"""The trials of tests/compare/features: each makes files in the working directory, lets a program copy them, and
raises Failed if the copy does not do what the row's title says."""
import ctypes, os, pty, signal, socket, stat, subprocess, threading, time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

MIB = 1 << 20
LONGEST = 20  # seconds: what has not ended by then hangs
COPY = Path("dst/src")


class Failed(Exception):
    pass


@dataclass
class Trial:
    title: str
    run: Callable
    options: dict = field(default_factory=dict)
    archive: bool = False  # whether "with all attributes" may make it pass
    place: str = "any"

    @property
    def name(self):
        return self.run.__name__


def expect(condition, why):
    if not condition:
        raise Failed(why)


def finish(command, sources=("src",), destination="dst/", **how):
    """Copies the sources into the existing directory dst."""
    os.makedirs("dst", exist_ok=True)
    quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": LONGEST}
    return subprocess.run([*command, *sources, destination], **quiet | how)


def copy(command, **how):
    done = finish(command, **how)
    expect(done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-200:]}")
    return done


def make(files):
    for name, content in files.items():
        path = Path("src", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def same(name):
    expect((COPY / name).read_bytes() == Path("src", name).read_bytes(), f"{name} has other content")


# --- the contents and attributes of a tree


def holes(command):
    make({})
    os.makedirs("src", exist_ok=True)
    with open("src/sparse", "wb") as file:
        file.truncate(64 * MIB)
        file.seek(32 * MIB)
        file.write(b"x" * 65536)
    copy(command)
    same("sparse")
    expect((COPY / "sparse").stat().st_blocks * 512 < MIB, "the holes are filled")


def hard_links(command):
    make({"one": b"content"})
    os.link("src/one", "src/two")
    copy(command)
    same("two")
    expect((COPY / "one").stat().st_ino == (COPY / "two").stat().st_ino, "two files of what was one")


def times(command):
    make({"file": b"content"})
    for name in ("src/file", "src"):
        os.utime(name, ns=(10**18 + 123456789, 10**18 + 987654321))
    copy(command)
    expect(all(p.stat().st_mtime_ns == 10**18 + 987654321 for p in (COPY, COPY / "file")), "another time")


def xattrs(command):
    make({"file": b"content"})
    os.setxattr("src/file", "user.note", b"kept")
    copy(command)
    expect("user.note" in os.listxattr(COPY / "file"), "lost")


def acls(command):
    make({"file": b"content"})
    subprocess.run(["setfacl", "-m", "u:1234:r", "src/file"], check=True)
    copy(command)
    expect("system.posix_acl_access" in os.listxattr(COPY / "file"), "lost")


def owner(command):
    make({"file": b"content"})
    os.chown("src/file", 1234, 5678)
    copy(command)
    there = (COPY / "file").stat()
    expect((there.st_uid, there.st_gid) == (1234, 5678), "another owner")


def specials(command):
    make({"file": b"content"})
    os.mkfifo("src/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("src/socket")
    copy(command, timeout=5)
    expect(stat.S_ISFIFO((COPY / "fifo").lstat().st_mode), "no fifo")
    expect(stat.S_ISSOCK((COPY / "socket").lstat().st_mode), "no socket")


def deep(command):
    """A chain that is longer than PATH_MAX, 4096 bytes."""
    part, levels = "d" * 100, 60
    os.mkdir("src")
    here = os.open("src", os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(part, dir_fd=here)
        here = step(here, part)
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    copy(command)
    here = os.open("dst/src", os.O_RDONLY)
    for _ in range(levels):
        here = step(here, part)
    os.stat("leaf", dir_fd=here)
    os.close(here)


def step(here, part):
    there = os.open(part, os.O_RDONLY, dir_fd=here)
    os.close(here)
    return there


def proc_files(command):
    """Files whose size is reported as 0."""
    os.mkdir("dst")
    done = finish(command, ["/proc/version"])
    expect(done.returncode == 0, f"exit status {done.returncode}")
    expect(Path("dst/version").read_bytes() == Path("/proc/version").read_bytes(), "not all of it")


# --- how data is moved


def reflink(command):
    make({"file": os.urandom(4 * MIB)})
    os.sync()
    copy(command)
    same("file")
    extents = subprocess.run(["filefrag", "-v", COPY / "file"], capture_output=True, text=True).stdout
    expect("shared" in extents, "no block is shared")


def threads(command):
    make({f"{d}/{f}": b"x" * 5000 for d in range(20) for f in range(50)})
    text = traced(command, "clone,clone3,fork,vfork")
    expect(text.count("CLONE_THREAD") > 1, "one thread")


def tells_strategies(command):
    make({"file": os.urandom(MIB)})
    said = copy(command).stdout.decode(errors="replace")
    calls = ("copy_file_range", "splice", "sendfile", "read_write", "FICLONE")
    expect(any(call in said for call in calls), "no kernel path is named")


def traced(command, calls):
    copy(["strace", "-f", "-y", "-o", "trace", "-e", f"trace={calls}", *command])
    return Path("trace").read_text(errors="replace")


# --- failures and interruptions


def atomic(command):
    """The old file keeps its name until the new one is complete, which then takes the name by rename(2)."""
    Path("old").write_bytes(b"old")
    make({"file": b"new" * 1000})
    os.makedirs("dst/src")
    os.rename("old", "dst/src/file")
    with open("dst/src/file", "rb") as before:
        text = traced(command, "rename,renameat,renameat2")
        same("file")
        expect(before.read() == b"old", "the old file was written into")
    expect('file"' in text, "no rename")


def resume(command):
    """The destination after an interruption: one file is truncated, one is missing, and many are complete and must
    not be copied again."""
    make({f"f{n}": os.urandom(10000) for n in range(100)})
    for n in range(100):
        os.utime(f"src/f{n}", (10**9, 10**9))
    copy(command)
    with open(COPY / "f7", "r+b") as file:
        file.truncate(5000)
    (COPY / "f8").unlink()
    before = {n: (COPY / f"f{n}").stat() for n in range(10, 100)}
    copy(command)
    for n in range(100):
        same(f"f{n}")
    again = [n for n, was in before.items() if (COPY / f"f{n}").stat()[:7] != was[:7]
             or (COPY / f"f{n}").stat().st_ctime_ns != was.st_ctime_ns]
    expect(not again, f"{len(again)} complete files were copied again")


def verify(command):
    make({"file": os.urandom(MIB)})
    text = traced(command, "read,pread64,preadv,preadv2,mmap")
    back = [line for line in text.splitlines() if "/dst/src/" in line and "PROT_WRITE" not in line]
    expect(back, "the copy is not read back")


def fsync(command):
    make({"file": b"content"})
    expect("sync" in traced(command, "fsync,fdatasync,syncfs,sync_file_range"), "no sync")


def errors(command):
    """One file cannot be read: the rest is copied, and the exit status says that something is missing."""
    make({f"f{n}": b"content" for n in range(20)})
    os.chmod("src/f5", 0)
    os.mkdir("dst")
    if os.geteuid() == 0:
        os.chmod(".", 0o755)
        os.chown("dst", 65534, 65534)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    done = finish(command)
    copied = [n for n in range(20) if (COPY / f"f{n}").exists() and n != 5]
    expect(done.returncode != 0, "the exit status is 0")
    expect(len(copied) == 19, f"{19 - len(copied)} other files are missing")


def into_itself(command):
    make({"file": b"content", "sub/file": b"content"})
    finish(command, destination="src/sub/", timeout=10)
    expect(not os.path.exists("src/sub/src/sub/src/sub"), "it went round and round")


def exchanged(command):
    """During the copy, a thread keeps exchanging a directory of the tree and a symbolic link to a directory with a
    secret. The trial passes if 150 copies do not contain the secret."""
    for n in range(30):
        make({f"dir/f{n}": b"public"})
    os.mkdir("secret")
    for n in range(30):
        Path(f"secret/f{n}").write_bytes(b"secret")
    os.symlink("../secret", "src/link")
    over = threading.Event()
    racer = threading.Thread(target=exchange, args=("src/dir", "src/link", over))
    racer.start()
    try:
        for _ in range(150):
            finish(command)
            for found in Path("dst").rglob("*"):
                if found.is_file() and not found.is_symlink() and found.resolve().is_relative_to(Path("dst").resolve()):
                    expect(found.read_bytes() != b"secret", "it was led outside of the tree")
            subprocess.run(["rm", "-rf", "dst"], check=True)
    finally:
        over.set()
        racer.join()


def exchange(one, other, over):
    libc, here, swap = ctypes.CDLL(None), -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    while not over.is_set():
        libc.renameat2(here, one.encode(), here, other.encode(), swap)


# --- convenience


def progress(command):
    """The copy is stopped for a second in the middle, so that it lasts long enough for a progress bar."""
    os.mkdir("dst")
    with open("src", "wb") as file:
        for _ in range(512):
            file.write(bytes(MIB))
    process, terminal = pty.fork()
    if process == 0:
        os.environ["TERM"] = "xterm"
        os.execv(command[0], [*command, "src", "dst/"])
    time.sleep(0.03)
    os.kill(process, signal.SIGSTOP)
    time.sleep(1)
    os.kill(process, signal.SIGCONT)
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:
        pass  # EIO: nobody has the terminal open any more
    os.waitpid(process, 0)
    os.close(terminal)
    expect(b"%" in shown or b"iB" in shown, "nothing is shown")


def filters(command):
    make({"keep.c": b"content", "leave.o": b"content", "sub/leave.o": b"content"})
    copy(command)
    same("keep.c")
    expect(not list(COPY.rglob("*.o")), "what was to be left out is there")


def dry_run(command):
    make({"file": b"content"})
    done = copy(command)
    expect(b"file" in done.stdout, "it does not say what it would do")
    expect(not COPY.exists(), "something was copied")


def delete(command):
    make({"file": b"content"})
    os.makedirs(COPY)
    (COPY / "extra").write_bytes(b"content")
    copy(command)
    expect(not (COPY / "extra").exists(), "it is still there")


def remote(command):
    said = subprocess.run([command[0], "--help"], capture_output=True, text=True)
    expect("HOST:" in said.stdout + said.stderr, "--help knows no HOST:")


ALL = [
    Trial("works on many files at once", threads),
    Trial("names the strategy that moved the bytes", tells_strategies, {"zcp": ["--stats"], "rsync": ["--stats"]}),
    Trial("shares blocks (reflink)", reflink, {"cpx": ["--reflink=always"]}, place="xfs"),
    Trial("keeps holes", holes, {"rsync": ["-S"]}),
    Trial("keeps hard links", hard_links, {"rsync": ["-H"]}, archive=True),
    Trial("keeps the times of files and directories", times, archive=True),
    Trial("keeps the owner", owner, archive=True),
    Trial("keeps extended attributes", xattrs, {"rsync": ["-X"]}, archive=True),
    Trial("keeps access control lists", acls, {"rsync": ["-A"]}, archive=True),
    Trial("recreates fifos and sockets", specials, archive=True),
    Trial("copies trees deeper than PATH_MAX", deep),
    Trial("copies /proc/version whole", proc_files),
    Trial("continues after an error, and exits with an error status", errors),
    Trial("does not copy a directory into itself without end", into_itself),
    Trial("stays in the tree when a directory becomes a link", exchanged),
    Trial("replaces a file in one step", atomic, {"zcp": ["--atomic"], "cpz": ["-f"]}),
    Trial("resumes an interrupted copy", resume, {"zcp": ["--resume"], "rsync": ["-t"], "cp": ["-u"], "cpx": ["--resume"], "cpz": ["-f"]}, archive=True),
    Trial("reads the copy back and compares it", verify, {"zcp": ["--verify"], "rsync": ["-c"]}),
    Trial("flushes the copy to the disk", fsync, {"zcp": ["--fsync"], "rsync": ["--fsync"], "xcp": ["--fsync"]}),
    Trial("shows progress", progress, {"rsync": ["--info=progress2"]}),
    Trial("leaves files out by pattern", filters, {"zcp": ["--exclude=*.o"], "rsync": ["--exclude=*.o"], "cpx": ["--exclude=*.o"]}),
    Trial("has a dry run", dry_run, {"zcp": ["--dry-run"], "rsync": ["-nv"]}),
    Trial("deletes what the source no longer has", delete, {"rsync": ["--delete"]}),
    Trial("copies to another machine by itself", remote),
]
