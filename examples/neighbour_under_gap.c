/*
 * A move around somebody else's memory. It stands for restorers and loaders that put an image back to the
 * addresses it was made for, while the holes of the image are in use there: by a log, by a ring that is
 * shared with another process, by anything that cannot be anywhere else.
 *
 *        |  a  |gap|    b    |    gap    | c |d|  gap  |      the image
 *           |           |                  |  |
 *           |   one mremap, MAYMOVE|FIXED  |  |
 *           v           v                  v  v
 *        |  a  |log|    b    |ring|empty | c |d| table |      its place
 *
 * Nothing that lies under a gap may be touched. Whoever asks an older kernel first and moves the segments
 * one by one when it refuses comes too late: before it answers EFAULT, it has unmapped the whole place.
 */
#define _GNU_SOURCE
#include "common.h"

enum { SEGMENT_A, LOG_GAP, SEGMENT_B, RING_GAP, SEGMENT_C, SEGMENT_D, TABLE_GAP, PIECES };

static const struct piece image[PIECES] = {
	[SEGMENT_A] = { "segment a", 2, PROT_READ | PROT_WRITE },
	[LOG_GAP] = { "gap under the log", 1, HOLE },
	[SEGMENT_B] = { "segment b", 3, PROT_READ },
	[RING_GAP] = { "gap under the ring", 2, HOLE },
	[SEGMENT_C] = { "segment c", 1, PROT_READ | PROT_WRITE },
	[SEGMENT_D] = { "segment d", 1, PROT_READ },
	[TABLE_GAP] = { "gap under the table", 2, HOLE },
};

enum { IMAGE_SEED = 100, LOG_SEED = 200, RING_SEED, TABLE_SEED };

/* What lives in the gaps of the place: one page of log, one of ring and two of table. */
struct neighbours {
	char *log; /* private and writable: lost for ever if it is unmapped */
	char *ring; /* shared, its other view is the file */
	char *empty; /* nothing at all, and nothing it shall stay */
	char *table; /* private and read-only, beyond the last segment */
	int ring_file;
};

static char *piece_at(char *start, size_t piece)
{
	return start + bytes(add_up(image, piece).pages);
}

static struct neighbours settle_neighbours(char *place)
{
	struct neighbours settled = {
		.log = piece_at(place, LOG_GAP),
		.ring = piece_at(place, RING_GAP),
		.empty = piece_at(place, RING_GAP) + bytes(1),
		.table = piece_at(place, TABLE_GAP),
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

/* The other process copies the log to its own view of the ring, and ours must show it. */
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

/* A refused move should have left everything as it was. It did not, if the neighbours are gone. */
static _Noreturn void die_beside_neighbours(struct totals moved, const struct neighbours *settled)
{
	report_refused_move(moved, errno);
	if (!is_mapped(settled->log) || !is_mapped(settled->ring) || !is_mapped(settled->table))
		fprintf(stderr, "neighbour_under_gap: and the neighbours are lost: %s\n",
			"the refused call has unmapped the place all the same");
	exit(EXIT_REFUSED);
}

int main(void)
{
	struct totals moved = add_up(image, PIECES);
	size_t length = bytes(moved.pages);
	char *buffer = reserve(moved.pages), *place = reserve(moved.pages);

	map_pieces(buffer, image, PIECES);
	fill_pieces(buffer, image, PIECES, IMAGE_SEED);
	protect_pieces(buffer, image, PIECES);
	struct neighbours settled = settle_neighbours(place);

	if (mremap(buffer, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, place) != place)
		die_beside_neighbours(moved, &settled);

	check_neighbours(&settled);
	expect_pieces(place, image, PIECES, IMAGE_SEED);
	expect_unmapped("buffer of the image", buffer, moved.pages);
	printf("neighbour_under_gap: moved %zu segments and %zu gaps, %zu pages, as one\n", moved.vmas, moved.gaps,
	       moved.pages);
	printf("neighbour_under_gap: log, ring, empty page and table under the gaps are untouched\n");
	return 0;
}
