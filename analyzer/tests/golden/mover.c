// What the golden traces record: growths, a failure, moves over several VMAs and gaps, a thread,
// a fork.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL

static char *reserve(size_t pages)
{
	char *at = mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		exit(1);
	return at;
}

__attribute__((noinline)) static void grow(int times)
{
	char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t pages = 1; pages <= (size_t)times; pages++)
		at = mremap(at, pages * PAGE, (pages + 1) * PAGE, MREMAP_MAYMOVE);
	munmap(at, (times + 1) * PAGE);
}

// Ten pages: four VMAs, and gaps at 3 and at 8; under the gaps' targets a reservation stays mapped.
__attribute__((noinline)) static void move(void)
{
	char *from = reserve(10), *to = reserve(10);
	mprotect(from, 3 * PAGE, PROT_READ | PROT_WRITE);
	mprotect(from + 6 * PAGE, 4 * PAGE, PROT_READ);
	munmap(from + 3 * PAGE, PAGE);
	munmap(from + 8 * PAGE, PAGE);
	if (mremap(from, 10 * PAGE, 10 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		perror("mremap");
	mremap(to, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + PAGE - 1);
}

static void *in_thread(void *unused)
{
	grow(70);
	return unused;
}

int main(void)
{
	pthread_t thread;
	grow(5);
	move();
	pthread_create(&thread, NULL, in_thread, NULL);
	pthread_join(thread, NULL);
	if (fork() == 0) {
		move();
		grow(3);
		_exit(0);
	}
	wait(NULL);
	mremap((void *)PAGE, PAGE, 2 * PAGE, 0);
	return 0;
}
