"""The trees that are copied, the same on every machine, and the comparison of a copy with its source."""
import hashlib, os, random, stat, subprocess
from typing import Callable, NamedTuple

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Maker:
    """Writes the files of one source. `old` gives the same names and sizes with other content."""

    def __init__(self, root, seed, scale, old):
        self.root, self.scale, self.old = root, scale, old
        self.dice = random.Random(seed)
        self.pool = random.Random("old" if old else "new").randbytes(MIB) * 2

    def count(self, n):
        return max(1, round(n * self.scale))

    def dir(self, *names):
        os.makedirs(os.path.join(self.root, *names), exist_ok=True)

    def file(self, size, *names):
        start = self.dice.randrange(MIB)
        with open(os.path.join(self.root, *names), "wb") as out:
            for at in range(0, size, MIB):
                start = (start + 4099) % MIB  # no two MiB of a large file are the same
                out.write(self.pool[start : start + min(MIB, size - at)])
        if self.old:
            os.utime(out.name, (1e9, 1e9))  # rsync would take equal times for equal content

    def files(self, number, low, high, *names):
        for n in range(number):
            self.file(self.dice.randint(low, high), *names, f"f{n:05}")


def small(m, files=20_000, low=KIB, high=8 * KIB):
    for d in range(200):
        m.dir(f"d{d:03}")
        m.files(m.count(files) // 200, low, high, f"d{d:03}")


def tree(m):
    dirs = [()]
    for n in range(m.count(600)):
        dirs.append(m.dice.choice(dirs) + (f"dir{n}",))
        m.dir(*dirs[-1])
    made = []
    for n in range(m.count(8_000)):
        where = m.dice.choice(dirs) + (f"file{n}.c",)
        here = os.path.join(m.root, *where)
        if n % 40 == 39:
            os.symlink(f"../{where[-1]}", here)
        elif n % 80 == 20 and made:
            os.link(os.path.join(m.root, *m.dice.choice(made)), here)
        else:
            m.file(min(16 * MIB, int(m.dice.lognormvariate(9, 2))), *where)
            os.chmod(here, 0o755 if n % 20 == 0 else 0o644)
            made.append(where)


def deep(m):
    chain = []
    for level in range(400):
        chain.append(f"l{level}")
        m.dir(*chain)
        m.files(3, KIB, 8 * KIB, *chain)


def large(m, number, size):
    for n in range(number):
        m.file(m.count(size), f"big{n}")


def single(m, size):
    os.rmdir(m.root)
    m.file(size)


def sparse(m):
    os.rmdir(m.root)
    with open(m.root, "wb") as out:
        for n in range(100):
            out.seek(n * 100 * MIB)
            out.write(m.pool[: 64 * KIB])
        out.truncate(10 * GIB)


class Workload(NamedTuple):
    title: str
    make: Callable
    touch: int = 0  # bytes of memory to touch before each copy
    repeat: int = 1  # copies in one run, of which the median counts
    operands: bool = False  # each file is named on the command line


WORKLOADS = {
    "small": Workload("20,000 files of 1-8 KiB in 200 directories", small),
    "tree": Workload("source-like tree, 8,000 files, links", tree),
    "wide": Workload("one directory of 30,000 files", lambda m: m.files(m.count(30_000), 0, 4 * KIB)),
    "operands": Workload(
        "20,000 files as operands", lambda m: m.files(m.count(20_000), KIB, 8 * KIB), operands=True
    ),
    "deep": Workload("chain of 400 directories", deep),
    "tiny": Workload("100,000 files of 0-512 B", lambda m: small(m, 100_000, 0, 512)),
    "big": Workload("one file of 256 MiB", lambda m: single(m, m.count(256 * MIB)), 320 * MIB),
    "many-big": Workload("8 files of 128 MiB", lambda m: large(m, 8, 128 * MIB), 1280 * MIB),
    "sparse": Workload("10 GiB sparse, 100 extents", sparse),
    "one": Workload("one file of 1 KiB", lambda m: single(m, KIB), repeat=50),
}
VARIANTS = {  # written behind a workload: big+overwrite
    "overwrite": "over an existing copy",
    "cold": "cold cache",
    "never": "--reflink=never",
    "archive": "-a",
}


def title(name):
    base, *variants = name.split("+")
    return ", ".join([WORKLOADS[base].title] + [VARIANTS[v] for v in variants])


def given(tree):
    """The workload that copies a tree of this machine."""
    make = lambda m: subprocess.run(["cp", "-a", "--reflink=never", f"{tree}/.", m.root], check=True)
    return Workload(f"tree {os.path.basename(tree)}", make)


def build(name, path, scale, old=False):
    os.mkdir(path)
    WORKLOADS[name].make(Maker(path, name, scale, old))


def digest(path, size):
    """A hash of the content without holes and zeros, so that the places of holes do not count."""
    sha, at = hashlib.sha256(str(size).encode()), 0
    fd = os.open(path, os.O_RDONLY)
    try:
        while at < size:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA) // MIB * MIB
            except OSError:
                break  # a hole up to the end
            block = os.pread(fd, MIB, at)
            if block.strip(b"\0"):
                sha.update(b"%d:" % at)
                sha.update(block)
            at += MIB
    finally:
        os.close(fd)
    return sha.digest()


def contents(root):
    """Everything in a tree, as {name: (kind, content)}, and the attributes that a copy may lose."""
    content, links, modes, times, blocks = {}, {}, {}, {}, 0

    def visit(path, name):
        nonlocal blocks
        s = os.lstat(path)
        modes[name] = stat.S_IMODE(s.st_mode) if not stat.S_ISLNK(s.st_mode) else 0
        times[name] = s.st_mtime_ns
        if stat.S_ISDIR(s.st_mode):
            content[name] = "directory", None
            for entry in os.listdir(path):
                visit(f"{path}/{entry}", f"{name}/{entry}")
        elif stat.S_ISLNK(s.st_mode):
            content[name] = "symlink", os.readlink(path)
        else:
            content[name] = "file", digest(path, s.st_size)
            blocks += s.st_blocks
            if s.st_nlink > 1:
                links.setdefault(s.st_ino, set()).add(name)

    import sys
    sys.setrecursionlimit(5000)
    visit(root, "")
    return content, {frozenset(x) for x in links.values()}, modes, times, blocks * 512


def differences(source, copy):
    """`ok` or the defect of a copy, and the list of attributes that it lost."""
    for name in source[0].keys() | copy[0].keys():
        if source[0].get(name) != copy[0].get(name):
            return f"wrong: {name[-40:] or 'the file'}", []
    names = ["hard links", "modes", "times"]
    lost = [what for what, mine, theirs in zip(names, source[1:4], copy[1:4]) if mine != theirs]
    if copy[4] > source[4] * 1.5 + 64 * MIB:
        lost.append("holes")
    return "ok", lost
