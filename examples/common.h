/*
 * Helpers of the C examples: they map the parts of a table, fill and check them, and report errors.
 * Each program calls mremap itself.
 *
 * Exit status: 0 success, 1 a system call was refused, 2 memory is wrong.
 */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum { EXIT_REFUSED = 1, EXIT_CORRUPT = 2 };

/*
 * One part of a layout, directly followed by the next. The kernel would merge neighbours of equal
 * protection, so no table has any: every part is a VMA of its own, or a gap.
 */
struct part {
	const char *name;
	size_t pages;
	int prot;
};

#define GAP (-1)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct totals {
	size_t pages, vmas, gaps;
};

static inline struct totals add_up(const struct part *parts, size_t count)
{
	struct totals sum = { 0 };

	for (size_t i = 0; i < count; i++) {
		sum.pages += parts[i].pages;
		if (parts[i].prot == GAP)
			sum.gaps++;
		else
			sum.vmas++;
	}
	return sum;
}

/* ---- Errors. ---- */

/* Reports a failed system call and exits. */
static inline _Noreturn void die(const char *call)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, call, strerror(errno));
	exit(EXIT_REFUSED);
}

/* Reports a refused move. The destination may be unmapped: older kernels do that first. */
static inline void report_refused_move(struct totals moved, int error)
{
	fprintf(stderr, "%s: mremap of %zu pages over %zu VMAs", program_invocation_short_name, moved.pages,
		moved.vmas);
	if (moved.gaps)
		fprintf(stderr, " and %zu %s", moved.gaps, moved.gaps == 1 ? "gap" : "gaps");
	fprintf(stderr, ": %s%s\n", strerror(error),
		error == EFAULT ? " (this kernel moves one VMA at a time; Linux 6.17 or newer is needed)" : "");
}

static inline _Noreturn void die_unmoved(struct totals moved)
{
	report_refused_move(moved, errno);
	exit(EXIT_REFUSED);
}

/* Reports wrong memory and exits. */
__attribute__((format(printf, 1, 2))) static inline _Noreturn void die_corrupt(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(EXIT_CORRUPT);
}

/* ---- Address space. ---- */

static inline size_t bytes(size_t pages)
{
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/*
 * Reserves address space, so that MAP_FIXED and MREMAP_FIXED inside it replace nothing else. It
 * includes an inaccessible page before and after, so that mappings inside do not merge with others.
 */
static inline char *reserve(size_t pages)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *start = mmap(NULL, bytes(1 + pages + 1), PROT_NONE, flags, -1, 0);

	if (start == MAP_FAILED)
		die("mmap of a reservation");
	return start + bytes(1);
}

static inline void map_over(char *start, size_t pages, int prot)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	if (mmap(start, bytes(pages), prot, flags, -1, 0) == MAP_FAILED)
		die("mmap inside a reservation");
}

static inline void unmap(char *start, size_t pages)
{
	if (munmap(start, bytes(pages)) != 0)
		die("munmap");
}

/* Maps the parts over a reservation, all writable for now, and unmaps the gaps. */
static inline void map_parts(char *start, const struct part *parts, size_t count)
{
	map_over(start, add_up(parts, count).pages, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < count; start += bytes(parts[i++].pages))
		if (parts[i].prot == GAP)
			unmap(start, parts[i].pages);
}

/* Sets the protection of each part, which makes it a VMA of its own. */
static inline void protect_parts(char *start, const struct part *parts, size_t count)
{
	for (size_t i = 0; i < count; start += bytes(parts[i++].pages))
		if (parts[i].prot != GAP && mprotect(start, bytes(parts[i].pages), parts[i].prot) != 0)
			die("mprotect");
}

/*
 * ---- Probes: system calls that access a page, so that a bad address is an error, not a crash.
 * ----
 */

static inline bool is_mapped(const char *page)
{
	unsigned char resident;

	return mincore((void *)page, 1, &resident) == 0;
}

/* The kernel reads the mask before it rejects the invalid `how`. 8 is its sizeof(sigset_t). */
static inline bool is_readable(const char *page)
{
	return syscall(SYS_rt_sigprocmask, -1, page, NULL, 8) == -1 && errno != EFAULT;
}

/* The kernel stores the signal mask in the page, whose content is restored afterwards. */
static inline bool is_writable(char *page)
{
	uint64_t kept;

	if (!is_readable(page))
		return false;
	memcpy(&kept, page, sizeof kept);
	if (syscall(SYS_rt_sigprocmask, 0, NULL, page, 8) != 0)
		return false;
	memcpy(page, &kept, sizeof kept);
	return true;
}

static inline void expect_prot(const char *name, char *start, size_t pages, int prot)
{
	for (size_t i = 0; i < pages; i++) {
		char *page = start + bytes(i);

		if (!is_mapped(page))
			die_corrupt("%s: page %zu is not mapped", name, i);
		if (is_readable(page) != ((prot & PROT_READ) != 0))
			die_corrupt("%s: page %zu is %sreadable", name, i, prot & PROT_READ ? "not " : "");
		if (is_writable(page) != ((prot & PROT_WRITE) != 0))
			die_corrupt("%s: page %zu is %swritable", name, i, prot & PROT_WRITE ? "not " : "");
	}
}

static inline void expect_unmapped(const char *name, const char *start, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		if (is_mapped(start + bytes(i)))
			die_corrupt("%s: page %zu is still mapped", name, i);
}

/* ---- Contents: every 8-byte word depends on a seed and its index. ---- */

static inline uint64_t pattern_word(uint64_t seed, size_t index)
{
	return (seed << 32 | index) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline void fill(void *start, size_t length, uint64_t seed)
{
	uint64_t *words = start;

	for (size_t i = 0; i < length / sizeof *words; i++)
		words[i] = pattern_word(seed, i);
}

static inline void expect_word(const char *name, size_t index, uint64_t found, uint64_t wanted)
{
	if (found != wanted)
		die_corrupt("%s: offset %#zx holds %#018jx instead of %#018jx", name, index * sizeof found,
			    (uintmax_t)found, (uintmax_t)wanted);
}

static inline void expect_pattern(const char *name, const void *start, size_t length, uint64_t seed)
{
	const uint64_t *words = start;

	for (size_t i = 0; i < length / sizeof *words; i++)
		expect_word(name, i, words[i], pattern_word(seed, i));
}

static inline void expect_zeros(const char *name, const void *start, size_t length)
{
	const uint64_t *words = start;

	for (size_t i = 0; i < length / sizeof *words; i++)
		expect_word(name, i, words[i], 0);
}

/* Fills the readable parts, each with a seed of its own. */
static inline void fill_parts(char *start, const struct part *parts, size_t count, uint64_t seed)
{
	for (size_t i = 0; i < count; start += bytes(parts[i++].pages))
		if (parts[i].prot != GAP && (parts[i].prot & PROT_READ))
			fill(start, bytes(parts[i].pages), seed + i);
}

/* The reservation must still be mapped under the gaps of a moved layout. */
static inline void expect_gaps_reserved(char *start, const struct part *parts, size_t count)
{
	for (size_t i = 0; i < count; start += bytes(parts[i++].pages))
		if (parts[i].prot == GAP)
			expect_prot(parts[i].name, start, parts[i].pages, PROT_NONE);
}

/* Checks protections and the contents that fill_parts wrote. Gaps are not checked. */
static inline void expect_parts(char *start, const struct part *parts, size_t count, uint64_t seed)
{
	for (size_t i = 0; i < count; start += bytes(parts[i++].pages)) {
		if (parts[i].prot == GAP)
			continue;
		expect_prot(parts[i].name, start, parts[i].pages, parts[i].prot);
		if (parts[i].prot & PROT_READ)
			expect_pattern(parts[i].name, start, bytes(parts[i].pages), seed + i);
	}
}

#endif
