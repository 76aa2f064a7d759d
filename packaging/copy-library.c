// Copies the preload library of this image into a directory, for an init container. Renames the
// complete copy, since running processes may have an earlier one mapped.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "libmremap_shim.so"
#define LIBRARY "/usr/lib/" NAME

static int fail(const char *path) {
    fprintf(stderr, "mremap-shim-copy: %s: %s\n", path, strerror(errno));
    return 1;
}

static int copy(int from, int to) {
    char buffer[1 << 16];
    ssize_t got;
    while ((got = read(from, buffer, sizeof buffer)) > 0) {
        for (ssize_t at = 0, put; at < got; at += put) {
            put = write(to, buffer + at, (size_t)(got - at));
            if (put < 0)
                return -1;
        }
    }
    return (int)got;
}

int main(int argc, char **argv) {
    char path[PATH_MAX], fresh[PATH_MAX + 8];
    if (argc != 2) {
        fprintf(stderr, "usage: mremap-shim-copy DIRECTORY\ncopies " LIBRARY " into it\n");
        return 2;
    }
    if (snprintf(path, sizeof path, "%s/" NAME, argv[1]) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return fail(argv[1]);
    }
    snprintf(fresh, sizeof fresh, "%s.fresh", path);
    int from = open(LIBRARY, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return fail(LIBRARY);
    int to = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    // The mode does not depend on the umask.
    if (to < 0 || copy(from, to) < 0 || fchmod(to, 0644) < 0 || close(to) < 0)
        return fail(fresh);
    if (rename(fresh, path) < 0)
        return fail(path);
    printf("mremap-shim-copy: wrote %s\n", path);
    return 0;
}
