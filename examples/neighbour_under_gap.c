/*
 * A move around other mappings, as by a program that restores an image to its original addresses
 * while the gaps of the image are in use there: by a log, by a ring that is shared with another
 * process, by anything that cannot be moved.
 *
 *        |  a  |gap|    b    |    gap    | c |d|  gap  |      the image
 *           |           |                  |  |
 *           |   one mremap, MAYMOVE|FIXED  |  |
 *           v           v                  v  v
 *        |  a  |log|    b    |ring|empty | c |d| table |      its destination
 *
 * Mappings under a gap must stay. Trying the call first and moving segments one by one if it is
 * refused is too late: before an older kernel returns EFAULT, it unmaps the whole destination.
 */
#define _GNU_SOURCE
#include "common.h"

enum { SEGMENT_A, LOG_GAP, SEGMENT_B, RING_GAP, SEGMENT_C, SEGMENT_D, TABLE_GAP, PARTS };

static const struct part image[PARTS] = {
	[SEGMENT_A] = { "segment a", 2, PROT_READ | PROT_WRITE },
	[LOG_GAP] = { "gap under the log", 1, GAP },
	[SEGMENT_B] = { "segment b", 3, PROT_READ },
	[RING_GAP] = { "gap under the ring", 2, GAP },
	[SEGMENT_C] = { "segment c", 1, PROT_READ | PROT_WRITE },
	[SEGMENT_D] = { "segment d", 1, PROT_READ },
	[TABLE_GAP] = { "gap under the table", 2, GAP },
};

enum { IMAGE_SEED = 100, LOG_SEED = 200, RING_SEED, TABLE_SEED };

/* The mappings under the gaps: one page of log, one of ring, two of table. */
struct neighbours {
	char *log; /* private and writable: its content exists nowhere else */
	char *ring; /* shared, its other view is the file */
	char *empty; /* unmapped, and must stay so */
	char *table; /* private and read-only, beyond the last segment */
	int ring_file;
};

static char *part_at(char *start, size_t part)
{
	return start + bytes(add_up(image, part).pages);
}

static struct neighbours settle_neighbours(char *target)
{
	struct neighbours settled = {
		.log = part_at(target, LOG_GAP),
		.ring = part_at(target, RING_GAP),
		.empty = part_at(target, RING_GAP) + bytes(1),
		.table = part_at(target, TABLE_GAP),
		.ring_file = memfd_create("ring", MFD_CLOEXEC),
	};
	int flags = MAP_SHARED | MAP_FIXED;

	map_over(settled.log, 1, PROT_READ | PROT_WRITE);
	fill(settled.log, bytes(1), LOG_SEED);

	if (settled.ring_file == -1 || ftruncate(settled.ring_file, (off_t)bytes(1)) != 0)
		die("memfd for the ring");
	if (mmap(settled.ring, bytes(1), PROT_READ | PROT_WRITE, flags, settled.ring_file, 0) == MAP_FAILED)
		die("mmap of the ring");
	fill(settled.ring, bytes(1), RING_SEED);

	unmap(settled.empty, 1);

	map_over(settled.table, 2, PROT_READ | PROT_WRITE);
	fill(settled.table, bytes(2), TABLE_SEED);
	if (mprotect(settled.table, bytes(2), PROT_READ) != 0)
		die("mprotect of the table");
	return settled;
}

/* The other process copies the log to its view of the ring, and ours must show it. */
static void check_ring_is_shared(const struct neighbours *settled)
{
	if (pwrite(settled->ring_file, settled->log, bytes(1), 0) != (ssize_t)bytes(1))
		die("pwrite to the ring");
	expect_pattern("ring, written from outside", settled->ring, bytes(1), LOG_SEED);
}

static void check_neighbours(const struct neighbours *settled)
{
	expect_prot("log", settled->log, 1, PROT_READ | PROT_WRITE);
	expect_pattern("log", settled->log, bytes(1), LOG_SEED);
	expect_prot("ring", settled->ring, 1, PROT_READ | PROT_WRITE);
	expect_pattern("ring", settled->ring, bytes(1), RING_SEED);
	check_ring_is_shared(settled);
	expect_unmapped("empty page", settled->empty, 1);
	expect_prot("table", settled->table, 2, PROT_READ);
	expect_pattern("table", settled->table, bytes(2), TABLE_SEED);
}

/* A refused move should leave everything unchanged. Older kernels unmap the neighbours. */
static _Noreturn void die_beside_neighbours(struct totals moved, const struct neighbours *settled)
{
	report_refused_move(moved, errno);
	if (!is_mapped(settled->log) || !is_mapped(settled->ring) || !is_mapped(settled->table))
		fprintf(stderr, "neighbour_under_gap: the neighbours are lost: %s\n",
			"the refused call unmapped the destination");
	exit(EXIT_REFUSED);
}

int main(void)
{
	struct totals moved = add_up(image, PARTS);
	size_t length = bytes(moved.pages);
	char *buffer = reserve(moved.pages), *target = reserve(moved.pages);

	map_parts(buffer, image, PARTS);
	fill_parts(buffer, image, PARTS, IMAGE_SEED);
	protect_parts(buffer, image, PARTS);
	struct neighbours settled = settle_neighbours(target);

	if (mremap(buffer, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, target) != target)
		die_beside_neighbours(moved, &settled);

	check_neighbours(&settled);
	expect_parts(target, image, PARTS, IMAGE_SEED);
	expect_unmapped("buffer of the image", buffer, moved.pages);
	printf("neighbour_under_gap: moved %zu segments and %zu gaps, %zu pages, as one\n", moved.vmas, moved.gaps,
	       moved.pages);
	printf("neighbour_under_gap: log, ring, empty page and table under the gaps are untouched\n");
	return 0;
}
