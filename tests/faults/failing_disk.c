/* Fails writes to certain files: for LD_PRELOAD, in a child of the tests.

   While the file FAILING_FLAG exists, writes and syncs of every file whose path contains FAILING_PATH fail with the error
   number that the flag holds, and each leaves a byte in FAILING_FLAG.hits. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_broken(int fd) {
    const char *flag = getenv("FAILING_FLAG"), *part = getenv("FAILING_PATH");
    char link[64], path[PATH_MAX], number[16] = "";
    if (!flag || !part) return 0;
    int known = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    int held = length > 0 ? (path[length] = 0, strstr(path, part) ? open(flag, O_RDONLY | O_CLOEXEC) : -1) : -1;
    errno = known;
    if (held < 0) return 0;
    syscall(SYS_read, held, number, sizeof number - 1);
    close(held);
    snprintf(path, sizeof path, "%s.hits", flag);
    int hits = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    syscall(SYS_write, hits, ".", 1);
    close(hits);
    errno = atoi(number);
    return 1;
}

#define FAILING(type, name, parameters, arguments)                                   \
    type name parameters {                                                           \
        static type(*real) parameters;                                               \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);               \
        return is_broken(fd) ? -1 : real arguments;                                  \
    }

FAILING(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
FAILING(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
FAILING(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
FAILING(int, ftruncate, (int fd, off_t size), (fd, size))
FAILING(int, ftruncate64, (int fd, off64_t size), (fd, size))
FAILING(int, fsync, (int fd), (fd))
FAILING(int, fdatasync, (int fd), (fd))
