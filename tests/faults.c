/* Lets calls on files fail or hang as a bad disk does. Loaded by LD_PRELOAD (tests/faults.py).

   Each line of the file named by RULES when this is compiled is a rule: the call, a part of the path, and an
   errno or "hang". The rules are looked at with each call, so that a disk can become bad, and well again, while
   a process runs; they are mapped from the beginning, because it may lose its right to open files. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/types.h>
#include <unistd.h>

#define RULES_BYTES 4096

static const char *rules;

__attribute__((constructor)) static void map_rules(void)
{
	int descriptor = syscall(SYS_openat, AT_FDCWD, RULES, O_RDONLY);
	void *mapped;

	if (descriptor < 0)
		return;
	mapped = mmap(NULL, RULES_BYTES, PROT_READ, MAP_SHARED, descriptor, 0);
	syscall(SYS_close, descriptor);
	rules = mapped == MAP_FAILED ? NULL : mapped;
}

static int rule(const char *call, const char *path)
{
	char text[RULES_BYTES + 1], where[512], what[32], name[32], *line, *rest = text;

	if (!rules)
		return 0;
	memcpy(text, rules, RULES_BYTES);
	text[RULES_BYTES] = 0;
	while ((line = strsep(&rest, "\n")))
		if (sscanf(line, "%31s %511s %31s", name, where, what) == 3 && !strcmp(name, call) && strstr(path, where))
			return strcmp(what, "hang") ? atoi(what) : -1;
	return 0;
}

/* Returns whether the call fails; waits as long as it hangs. */
static int fails(const char *call, const char *path)
{
	int number;

	while ((number = rule(call, path)) < 0)
		usleep(10000);
	errno = number;
	return number != 0;
}

static int fails_on(const char *call, int descriptor)
{
	char link[64], path[4096];
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
	length = readlink(link, path, sizeof path - 1);
	path[length < 0 ? 0 : length] = 0;
	return fails(call, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                        \
	int name(const char *path, int flags, ...)                        \
	{                                                                 \
		va_list more;                                             \
		mode_t mode;                                              \
		va_start(more, flags);                                    \
		mode = va_arg(more, mode_t);                              \
		va_end(more);                                             \
		return fails("open", path) ? -1 : NEXT(name)(path, flags, mode); \
	}

OPEN(open)
OPEN(open64)

ssize_t pread64(int descriptor, void *data, size_t count, off64_t at)
{
	return fails_on("pread", descriptor) ? -1 : NEXT(pread64)(descriptor, data, count, at);
}

ssize_t pwrite64(int descriptor, const void *data, size_t count, off64_t at)
{
	return fails_on("pwrite", descriptor) ? -1 : NEXT(pwrite64)(descriptor, data, count, at);
}

/* The errno of a rule for "adjtimex" is the status of the clock. */
int adjtimex(struct timex *timex)
{
	int status = rule("adjtimex", "clock");

	if (!status)
		return NEXT(adjtimex)(timex);
	timex->status = status;
	return status & STA_UNSYNC ? TIME_ERROR : TIME_OK;
}

int fsync(int descriptor)
{
	return fails_on("sync", descriptor) ? -1 : NEXT(fsync)(descriptor);
}

int fdatasync(int descriptor)
{
	return fails_on("sync", descriptor) ? -1 : NEXT(fdatasync)(descriptor);
}
