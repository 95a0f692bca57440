/* A file layer that fails: LD_PRELOADed under a program, it sees every change
 * to the files below one folder, and strikes at a chosen one.
 *
 * FAULTS_DIR    the folder, absolute; files ending in -shm are left alone
 * FAULTS_TRASH  a folder beside it, on the same file system, for what is unlinked
 * FAULTS_LOG    a line is appended here at each strike
 * FAULTS_ARM    if given, nothing counts before this file is there
 * FAULTS        "mode=M at=N for=K seed=S only=TEXT cut=C"
 *
 * Of the calls on files whose path holds TEXT the N-th is struck:
 *   cut    the power goes (any change counts)
 *   fsync  K fsyncs fail with EIO (only fsyncs count)
 *   eio    K writes fail with EIO (only writes count)
 *   full   K writes fail with ENOSPC; so do new files meanwhile
 *   short  K writes write half
 *   read   K reads fail with EIO (only reads count)
 * With C the power goes C changes after the first strike.
 *
 * When the power goes, each file is as its last successful fsync left it, and
 * of every later change each sector of 512 bytes is there or not, by chance.
 * Changes of a folder (new, unlinked and renamed files) that were not fsynced
 * with the folder are there in their order up to some point, by chance.
 * A failed fsync leaves, by chance, the old bytes in the file at once, or the
 * new ones for all who read, which no later fsync brings to the disk: both
 * happen on Linux. Then the process gets SIGKILL.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536
#define SECTOR 512

/* What became of a change: open until an fsync says. */
enum fate { OPEN, SAFE, DROPPED };

/* A write, or a truncation (new_len is 0), with what undoes it. */
struct change {
    struct change *prev, *next;
    enum fate fate;
    off_t at, old_size, new_size;
    size_t old_len, new_len;
    char *old_bytes, *new_bytes;
};

struct file {
    struct file *next;
    dev_t dev;
    ino_t ino;
    int is_dir;
    int fd; /* our own; never closed: that would end SQLite's locks */
    char path[512];
    struct change *first, *last;
};

/* A change of a folder that was not fsynced. */
struct entry {
    struct entry *prev;
    enum { CREATED, UNLINKED, RENAMED, MADE } kind;
    char dir[512], path[512], from[512], trash[512];
    int keep, looked;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file *files, *by_fd[FDS];
static struct entry *entries;
static const char *dir, *trash, *arm;
static char mode[16], only[64];
static long at, times, cut_after, n_counted, n_struck, n_since;
static uint64_t dice;

static uint64_t roll(uint64_t below)
{
    dice ^= dice >> 12;
    dice ^= dice << 25;
    dice ^= dice >> 27;
    return ((dice * 0x2545F4914F6CDD1DULL) >> 33) % below;
}

static void setting(const char *name, const char *format, void *to)
{
    const char *all = getenv("FAULTS");
    const char *found = all ? strstr(all, name) : NULL;
    if (found)
        sscanf(found + strlen(name), format, to);
}

__attribute__((constructor)) static void begin(void)
{
    dir = getenv("FAULTS_DIR");
    trash = getenv("FAULTS_TRASH");
    arm = getenv("FAULTS_ARM");
    times = 1;
    unsigned long seed = 1;
    setting("mode=", "%15[a-z]", mode);
    setting("at=", "%ld", &at);
    setting("for=", "%ld", &times);
    setting("seed=", "%lu", &seed);
    setting("only=", "%63[^ ]", only);
    setting("cut=", "%ld", &cut_after);
    dice = seed * 0x9E3779B97F4A7C15ULL + 1;
}

static int is_ours(const char *path)
{
    size_t n = dir ? strlen(dir) : 0, len = strlen(path);
    if (n == 0 || strncmp(path, dir, n) != 0 || (path[n] != '/' && path[n] != 0))
        return 0;
    return len < 500 && !(len > 4 && strcmp(path + len - 4, "-shm") == 0);
}

static void put(int fd, const void *bytes, size_t n, off_t where)
{
    if (n > 0 && syscall(SYS_pwrite64, fd, bytes, n, where) != (long)n)
        abort();
}

static off_t size_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_size : 0;
}

static void set_size(int fd, off_t size)
{
    if (syscall(SYS_ftruncate, fd, size) != 0)
        abort();
}

static void parent(const char *path, char *to)
{
    snprintf(to, 512, "%s", path);
    char *slash = strrchr(to, '/');
    if (slash)
        *slash = 0;
}

/* ---- what was changed, and how it is taken back ---- */

static void note_change(struct file *f, off_t where, const char *bytes, size_t n, off_t new_size)
{
    struct change *c = calloc(1, sizeof *c);
    c->at = where;
    c->old_size = size_of(f->fd);
    c->new_size = new_size;
    off_t end = bytes ? where + (off_t)n : c->old_size;
    if (end > c->old_size)
        end = c->old_size;
    c->old_len = end > where ? end - where : 0;
    c->old_bytes = malloc(c->old_len + 1);
    if (c->old_len > 0)
        syscall(SYS_pread64, f->fd, c->old_bytes, c->old_len, where);
    c->new_len = bytes ? n : 0;
    c->new_bytes = malloc(c->new_len + 1);
    memcpy(c->new_bytes, bytes ? bytes : "", c->new_len);
    c->prev = f->last;
    if (f->last)
        f->last->next = c;
    else
        f->first = c;
    f->last = c;
}

static void forget(struct file *f, struct change *c)
{
    *(c->prev ? &c->prev->next : &f->first) = c->next;
    *(c->next ? &c->next->prev : &f->last) = c->prev;
    free(c->old_bytes);
    free(c->new_bytes);
    free(c);
}

/* An fsync went well: what is safe before everything else needs no undoing. */
static void mark_safe(struct file *f)
{
    for (struct change *c = f->first; c; c = c->next)
        if (c->fate == OPEN)
            c->fate = SAFE;
    while (f->first && f->first->fate == SAFE)
        forget(f, f->first);
}

static void undo_all(struct file *f)
{
    for (struct change *c = f->last; c; c = c->prev) {
        put(f->fd, c->old_bytes, c->old_len, c->at);
        set_size(f->fd, c->old_size);
    }
}

/* Some of the write's sectors reach the disk. */
static void redo_torn(struct file *f, struct change *c)
{
    uint64_t how = roll(3); /* its beginning; its end; any of it */
    off_t end = c->at + (off_t)c->new_len;
    off_t edge = c->at + (off_t)roll(c->new_len + 1);
    edge -= edge % SECTOR;
    for (off_t here = c->at; here < end;) {
        off_t next = here - here % SECTOR + SECTOR;
        if (next > end)
            next = end;
        int there = how == 0 ? here < edge : how == 1 ? here >= edge : roll(2) == 0;
        if (there)
            put(f->fd, c->new_bytes + (here - c->at), next - here, here);
        here = next;
    }
    if (roll(2) && size_of(f->fd) < end)
        set_size(f->fd, end);
}

static void redo(struct file *f, struct change *c)
{
    if (c->new_len == 0)
        set_size(f->fd, c->new_size);
    put(f->fd, c->new_bytes, c->new_len, c->at);
}

/* The file as the disk has it when the power is gone. */
static void settle(struct file *f)
{
    undo_all(f);
    uint64_t how = roll(4); /* nothing open; all but a torn last; any; all torn */
    for (struct change *c = f->first; c; c = c->next) {
        if (c->fate == DROPPED)
            continue;
        int is_last = c == f->last;
        if (c->fate == SAFE || (how == 1 && !is_last) || (how == 2 && roll(2)))
            redo(f, c);
        else if (how == 3 || (how == 1 && is_last))
            redo_torn(f, c);
    }
}

static void note_entry(int kind, const char *path, const char *from, const char *saved)
{
    struct entry *e = calloc(1, sizeof *e);
    e->kind = kind;
    parent(path, e->dir);
    snprintf(e->path, 512, "%s", path);
    snprintf(e->from, 512, "%s", from ? from : "");
    snprintf(e->trash, 512, "%s", saved ? saved : "");
    e->prev = entries;
    entries = e;
}

static void new_trash(char *to)
{
    static int n;
    snprintf(to, 512, "%s/%d.%d", trash, (int)getpid(), n++);
}

static void take_back(struct entry *e)
{
    char aside[512];
    new_trash(aside);
    if (e->kind == CREATED || e->kind == MADE)
        rename(e->path, aside);
    if (e->kind == RENAMED)
        syscall(SYS_renameat2, AT_FDCWD, e->path, AT_FDCWD, e->from, 0);
    if (e->trash[0])
        syscall(SYS_linkat, AT_FDCWD, e->trash, AT_FDCWD, e->path, 0);
}

/* The oldest of each folder's changes are there, the newest not. */
static void settle_entries(void)
{
    for (struct entry *e = entries; e; e = e->prev) {
        if (e->looked)
            continue;
        uint64_t n = 0, how = roll(3);
        for (struct entry *o = e; o; o = o->prev)
            n += strcmp(o->dir, e->dir) == 0;
        uint64_t lost = how == 0 ? 0 : how == 1 ? n : roll(n + 1);
        for (struct entry *o = e; o; o = o->prev)
            if (strcmp(o->dir, e->dir) == 0) {
                o->looked = 1;
                o->keep = lost == 0;
                lost -= lost > 0;
            }
    }
    for (struct entry *e = entries; e; e = e->prev)
        if (!e->keep)
            take_back(e);
}

static void say(const char *what, const char *call, const char *path)
{
    const char *log = getenv("FAULTS_LOG");
    char line[700];
    int n = snprintf(line, sizeof line, "%s at %s of %s, call %ld\n", what, call, path, n_counted);
    int fd = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
    if (fd >= 0) {
        syscall(SYS_write, fd, line, n);
        syscall(SYS_close, fd);
    }
}

static void power_cut(const char *call, const char *path)
{
    say("power cut", call, path);
    dir = NULL; /* what follows is not a change */
    for (struct file *f = files; f; f = f->next)
        if (!f->is_dir)
            settle(f);
    settle_entries();
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* ---- when to strike ---- */

static int is_watched(const char *path)
{
    if (arm && syscall(SYS_faccessat, AT_FDCWD, arm, F_OK) != 0)
        return 0;
    arm = NULL;
    return only[0] == 0 || strstr(path, only) != NULL;
}

/* A change was made, and is not safe yet: does the power go now? */
static void changed(const char *call, const char *path)
{
    if (n_struck > 0 && cut_after > 0 && ++n_since >= cut_after)
        power_cut(call, path);
    if (strcmp(mode, "cut") == 0 && is_watched(path) && ++n_counted == at)
        power_cut(call, path);
}

/* Whether this call is struck. */
static int strikes(const char *wanted, const char *call, const char *path)
{
    if (strcmp(mode, wanted) != 0 || !is_watched(path))
        return 0;
    n_counted++;
    if (n_counted < at || n_struck >= times)
        return 0;
    if (n_struck++ == 0)
        say(mode, call, path);
    return 1;
}

/* ---- the calls ---- */

static struct file *file_of(int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return NULL;
    for (struct file *f = files; f; f = f->next)
        if (f->dev == st.st_dev && f->ino == st.st_ino)
            return f;
    struct file *f = calloc(1, sizeof *f);
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    f->is_dir = S_ISDIR(st.st_mode);
    snprintf(f->path, 512, "%s", path);
    /* Held open, so that its number is not given to another file. */
    int flags = (f->is_dir ? O_RDONLY : O_RDWR) | O_CLOEXEC;
    f->fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
    f->next = files;
    files = f;
    return f;
}

static int truncate_file(struct file *f, int fd, off_t size)
{
    if (size != size_of(fd)) {
        off_t old = size_of(fd);
        note_change(f, size < old ? size : old, NULL, 0, size);
        if (syscall(SYS_ftruncate, fd, size) != 0)
            return -1;
        changed("ftruncate", f->path);
    }
    return 0;
}

static int open_at(int at_fd, const char *path, int flags, mode_t perm)
{
    if (!is_ours(path))
        return (int)syscall(SYS_openat, at_fd, path, flags, perm);
    pthread_mutex_lock(&lock);
    int is_new = (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    int fd = -1;
    if (is_new && n_struck > 0 && strikes("full", "open", path)) {
        errno = ENOSPC;
    } else {
        fd = (int)syscall(SYS_openat, at_fd, path, flags & ~O_TRUNC, perm);
    }
    if (fd >= 0 && fd < FDS && (by_fd[fd] = file_of(fd, path)) != NULL) {
        if (is_new) {
            note_entry(CREATED, path, NULL, NULL);
            changed("open", path);
        }
        if (flags & O_TRUNC)
            truncate_file(by_fd[fd], fd, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN_MODE                                                                                  \
    mode_t perm = 0;                                                                               \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                         \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        perm = va_arg(args, mode_t);                                                               \
        va_end(args);                                                                              \
    }

int open(const char *path, int flags, ...) { OPEN_MODE return open_at(AT_FDCWD, path, flags, perm); }
int open64(const char *path, int flags, ...) { OPEN_MODE return open_at(AT_FDCWD, path, flags, perm); }
int openat(int fd, const char *path, int flags, ...) { OPEN_MODE return open_at(fd, path, flags, perm); }
int openat64(int fd, const char *path, int flags, ...) { OPEN_MODE return open_at(fd, path, flags, perm); }

int close(int fd)
{
    if (fd >= 0 && fd < FDS && by_fd[fd]) {
        pthread_mutex_lock(&lock);
        by_fd[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_close, fd);
}

/* Whether a read of this file fails. */
static int read_fails(int fd, const char *call)
{
    if (fd < 0 || fd >= FDS || !by_fd[fd] || by_fd[fd]->is_dir)
        return 0;
    pthread_mutex_lock(&lock);
    int fails = strikes("read", call, by_fd[fd]->path);
    pthread_mutex_unlock(&lock);
    if (fails)
        errno = EIO;
    return fails;
}

ssize_t read(int fd, void *to, size_t n)
{
    return read_fails(fd, "read") ? -1 : syscall(SYS_read, fd, to, n);
}
ssize_t pread(int fd, void *to, size_t n, off_t where)
{
    return read_fails(fd, "pread") ? -1 : syscall(SYS_pread64, fd, to, n, where);
}
ssize_t pread64(int fd, void *to, size_t n, off_t where) { return pread(fd, to, n, where); }

static ssize_t write_at(int fd, const char *bytes, size_t n, off_t where)
{
    pthread_mutex_lock(&lock);
    struct file *f = by_fd[fd];
    ssize_t done = -1;
    if (strikes("eio", "write", f->path)) {
        errno = EIO;
    } else if (strikes("full", "write", f->path)) {
        errno = ENOSPC;
    } else {
        if (n > 1 && strikes("short", "write", f->path))
            n /= 2;
        off_t size = size_of(fd), end = where + (off_t)n;
        note_change(f, where, bytes, n, end > size ? end : size);
        put(f->fd, bytes, n, where);
        done = (ssize_t)n;
        changed("write", f->path);
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static int is_file(int fd)
{
    return fd >= 0 && fd < FDS && by_fd[fd] && !by_fd[fd]->is_dir;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t where)
{
    if (!is_file(fd))
        return syscall(SYS_pwrite64, fd, bytes, n, where);
    return write_at(fd, bytes, n, where);
}
ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t where) { return pwrite(fd, bytes, n, where); }

ssize_t write(int fd, const void *bytes, size_t n)
{
    if (!is_file(fd))
        return syscall(SYS_write, fd, bytes, n);
    int appends = (int)syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
    off_t where = lseek(fd, 0, appends ? SEEK_END : SEEK_CUR);
    ssize_t done = write_at(fd, bytes, n, where);
    if (done > 0)
        lseek(fd, where + done, SEEK_SET);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int n_parts)
{
    if (!is_file(fd))
        return syscall(SYS_writev, fd, parts, n_parts);
    /* Allowed to write less than all. */
    return n_parts > 0 ? write(fd, parts[0].iov_base, parts[0].iov_len) : 0;
}

int ftruncate(int fd, off_t size)
{
    if (!is_file(fd))
        return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int done = truncate_file(by_fd[fd], fd, size);
    pthread_mutex_unlock(&lock);
    return done;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

/* The kernel gives up what it could not write; who reads may see it still. */
static void drop_open(struct file *f)
{
    if (roll(2)) {
        for (struct change *c = f->last, *before; c && c->fate == OPEN; c = before) {
            before = c->prev;
            put(f->fd, c->old_bytes, c->old_len, c->at);
            set_size(f->fd, c->old_size);
            forget(f, c);
        }
    }
    for (struct change *c = f->first; c; c = c->next)
        if (c->fate == OPEN)
            c->fate = DROPPED;
}

static void mark_entries_safe(const char *path)
{
    struct entry **to = &entries;
    while (*to) {
        struct entry *e = *to;
        if (strcmp(e->dir, path) == 0) {
            *to = e->prev;
            free(e);
        } else {
            to = &e->prev;
        }
    }
}

static int sync_fd(int fd)
{
    pthread_mutex_lock(&lock);
    struct file *f = by_fd[fd];
    int done = 0, error = 0;
    changed("fsync", f->path); /* before anything of it is on disk */
    if (strikes("fsync", "fsync", f->path)) {
        drop_open(f);
        done = -1;
        error = EIO;
    } else if (f->is_dir) {
        mark_entries_safe(f->path);
    } else {
        mark_safe(f);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int fsync(int fd) { return fd >= 0 && fd < FDS && by_fd[fd] ? sync_fd(fd) : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fsync(fd); }

int unlink(const char *path)
{
    if (!is_ours(path))
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    char saved[512];
    new_trash(saved);
    syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, saved, 0);
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0), error = errno;
    if (done == 0) {
        note_entry(UNLINKED, path, NULL, saved);
        changed("unlink", path);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int rename(const char *from, const char *to)
{
    if (!is_ours(from) || !is_ours(to))
        return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    char saved[512];
    new_trash(saved);
    int had = syscall(SYS_linkat, AT_FDCWD, to, AT_FDCWD, saved, 0) == 0;
    int done = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), error = errno;
    if (done == 0) {
        note_entry(RENAMED, to, from, had ? saved : NULL);
        changed("rename", to);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int mkdir(const char *path, mode_t perm)
{
    int done = (int)syscall(SYS_mkdirat, AT_FDCWD, path, perm), error = errno;
    /* The folder itself is there from the beginning. */
    if (done == 0 && is_ours(path) && strcmp(path, dir) != 0) {
        pthread_mutex_lock(&lock);
        note_entry(MADE, path, NULL, NULL);
        changed("mkdir", path);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return done;
}
