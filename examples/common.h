/*
 * What the C examples share: laying out pieces of memory from a table, filling and checking them, and
 * the words for what went wrong. The mremap call itself stays in each program, where the reader looks for it.
 *
 * Exit status: 0 all is well, 1 the system refused something, 2 memory is not what it should be.
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
 * A stretch of a layout, the next one following it directly. Two neighbours of equal protection would be
 * one VMA to the kernel, so a table never has them: every piece is a VMA of its own, every HOLE a gap.
 */
struct piece {
	const char *name;
	size_t pages;
	int prot;
};

#define HOLE (-1)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct totals {
	size_t pages, vmas, gaps;
};

static inline struct totals add_up(const struct piece *pieces, size_t count)
{
	struct totals sum = { 0 };

	for (size_t i = 0; i < count; i++) {
		sum.pages += pieces[i].pages;
		if (pieces[i].prot == HOLE)
			sum.gaps++;
		else
			sum.vmas++;
	}
	return sum;
}

/* ---- Words. ---- */

/* A system call that sets the stage failed. */
static inline _Noreturn void die(const char *call)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, call, strerror(errno));
	exit(EXIT_REFUSED);
}

/* The move itself was refused. The destination may be unmapped by now: older kernels do that first. */
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

/* Memory is not what it should be: say what was found where. */
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
 * Address space of our own, so that MAP_FIXED and MREMAP_FIXED inside it hit nobody. The page before it and
 * the one behind it are ours too and stay inaccessible: what is mapped inside cannot merge with a stranger.
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

/* Pieces over a reservation, all writable for now; the holes are unmapped. */
static inline void map_pieces(char *start, const struct piece *pieces, size_t count)
{
	map_over(start, add_up(pieces, count).pages, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < count; start += bytes(pieces[i++].pages))
		if (pieces[i].prot == HOLE)
			unmap(start, pieces[i].pages);
}

/* Each piece gets its protection, and becomes a VMA of its own by it. */
static inline void protect_pieces(char *start, const struct piece *pieces, size_t count)
{
	for (size_t i = 0; i < count; start += bytes(pieces[i++].pages))
		if (pieces[i].prot != HOLE && mprotect(start, bytes(pieces[i].pages), pieces[i].prot) != 0)
			die("mprotect");
}

/* ---- Probes: the kernel touches the page for us, so a bad address is an errno and not a crash. ---- */

static inline bool is_mapped(const char *page)
{
	unsigned char resident;

	return mincore((void *)page, 1, &resident) == 0;
}

/* A signal mask is read before the invalid `how` is rejected. 8 is the kernel's sizeof(sigset_t). */
static inline bool is_readable(const char *page)
{
	return syscall(SYS_rt_sigprocmask, -1, page, NULL, 8) == -1 && errno != EFAULT;
}

/* The current signal mask is stored there, and what it has overwritten put back. */
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

/* ---- Contents: every 8-byte word tells its seed and its place. ---- */

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

/* Fills the readable pieces, each with a seed of its own; guards stay as they are. */
static inline void fill_pieces(char *start, const struct piece *pieces, size_t count, uint64_t seed)
{
	for (size_t i = 0; i < count; start += bytes(pieces[i++].pages))
		if (pieces[i].prot != HOLE && (pieces[i].prot & PROT_READ))
			fill(start, bytes(pieces[i].pages), seed + i);
}

/* Where nothing but a reservation was, the holes of a moved layout must have left it alone. */
static inline void expect_holes_reserved(char *start, const struct piece *pieces, size_t count)
{
	for (size_t i = 0; i < count; start += bytes(pieces[i++].pages))
		if (pieces[i].prot == HOLE)
			expect_prot(pieces[i].name, start, pieces[i].pages, PROT_NONE);
}

/* Protections as in the table, contents as fill_pieces left them. The holes are not looked at. */
static inline void expect_pieces(char *start, const struct piece *pieces, size_t count, uint64_t seed)
{
	for (size_t i = 0; i < count; start += bytes(pieces[i++].pages)) {
		if (pieces[i].prot == HOLE)
			continue;
		expect_prot(pieces[i].name, start, pieces[i].pages, pieces[i].prot);
		if (pieces[i].prot & PROT_READ)
			expect_pattern(pieces[i].name, start, bytes(pieces[i].pages), seed + i);
	}
}

#endif
