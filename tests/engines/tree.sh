# The tree that the engines copy, and the comparison with `cp -a`. Sourced by the scripts beside it.

# Makes src, with every kind of file, and cp, its copy by cp.
make_tree() {
    mkdir -p src/a/b src/c/empty
    for i in $(seq 1500); do head -c $((i * 37 % 9000)) /dev/urandom >"src/a/b/f$i"; done
    head -c 20000000 /dev/urandom >src/large
    truncate -s 30M src/holes && printf x | dd of=src/holes bs=1 seek=9000000 conv=notrunc status=none
    ln src/a/b/f7 src/c/f7-too
    ln src/large src/c/large-too
    ln -s ../nowhere src/c/link
    mkfifo src/c/fifo
    mknod src/c/null c 1 3
    chown 1234:1235 src/a/b/f9 src/c/empty
    chmod 4711 src/a/b/f11
    chmod 555 src/c
    cp -a src cp
}

# Prints the attributes and contents of all names below a directory, except the sizes of directories, which
# depend on the file system.
describe() {
    (
        cd "$1"
        find . -printf '%p %y %m %U:%G %s %n %T@ %l\n' | sed -E 's/^([^ ]+ d [^ ]+ [^ ]+) [0-9]+/\1/' | sort
        find . -type f -exec md5sum {} + | sort -k2
    )
}

# Fails if dst differs from cp's copy.
compare() {
    describe cp >cp.list
    describe dst >dst.list
    diff cp.list dst.list
    [ "$(stat -c %b dst/holes)" -le "$(stat -c %b cp/holes)" ] || { echo "holes were filled" >&2; exit 1; }
    echo "the same as cp -a: $(wc -l <cp.list) lines compared"
}
