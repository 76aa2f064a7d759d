/*
 * A peer of the preload library: records every mremap as an event of LTTng-UST, with the same
 * fields and two reads of the CPU's counter.
 */
#define _GNU_SOURCE
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "lttng_mremap.h"

#include <dlfcn.h>
#include <stddef.h>

typedef void *(*mremap_function)(void *, size_t, size_t, int, ...);

static mremap_function next;

__attribute__((constructor)) static void find_next(void)
{
	next = (mremap_function)dlsym(RTLD_NEXT, "mremap");
}

static unsigned long ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	unsigned long counter;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(counter));
	return counter;
#endif
}

void *mremap(void *old, size_t old_len, size_t new_len, int flags, void *new)
{
	unsigned long started = ticks();
	void *result = next(old, old_len, new_len, flags, new);
	unsigned long ended = ticks();

	lttng_ust_tracepoint(mremap_bench, call, (unsigned long)old, old_len, new_len, flags, (unsigned long)new,
			     (long)result, (unsigned long)__builtin_return_address(0), started,
			     (unsigned int)(ended - started));
	return result;
}
