/*
 * A compacting heap, like those of collectors and object stores that put a guard page after every
 * block and unmap freed blocks. A large block at the front has died. Everything after it slides
 * down by the same distance, so that one subtraction corrects every pointer.
 *
 *          the dead block                    blocks b, guards g, holes
 *        |........................|b b|g|b|g|     |b b b|g|   |b|g|
 *
 *                 |   one mremap, MAYMOVE|FIXED   |
 *                 v                               v
 *        |b b|g|b|g|.....|b b b|g|...|b|g|........|  (unmapped)
 *
 * Dots are reserved address space (PROT_NONE). Under the targets of the holes it must stay mapped,
 * or the next mmap may be placed inside the heap.
 */
#define _GNU_SOURCE
#include "common.h"

#define BLOCK(n, size) { "block " #n, size, PROT_READ | PROT_WRITE }
#define GUARD(n) { "guard " #n, 1, PROT_NONE }

static const struct part survivors[] = {
	BLOCK(0, 2), GUARD(0), BLOCK(1, 1), GUARD(1), { "hole", 3, GAP },
	BLOCK(2, 3), GUARD(2), { "hole", 2, GAP }, BLOCK(3, 1), GUARD(3),
};

enum { DEAD_BLOCK_PAGES = 20 };

/* The header of a block. */
struct block {
	struct block *next;
	size_t pages;
	char payload[];
};

static bool is_block(const struct part *part)
{
	return part->prot == (PROT_READ | PROT_WRITE);
}

/* Builds the table's blocks, linked in address order, and returns the first one. */
static struct block *populate(char *start)
{
	struct block *root = NULL, **link = &root;

	for (size_t i = 0; i < COUNT(survivors); start += bytes(survivors[i++].pages)) {
		if (!is_block(&survivors[i]))
			continue;

		struct block *block = (struct block *)start;

		block->pages = survivors[i].pages;
		fill(block->payload, bytes(block->pages) - sizeof *block, i);
		*link = block;
		link = &block->next;
	}
	return root;
}

/* Lowers every pointer by the distance of the move. */
static struct block *correct_pointers(struct block *root, size_t distance)
{
	struct block **link = &root;

	while (*link) {
		*link = (struct block *)((char *)*link - distance);
		link = &(*link)->next;
	}
	return root;
}

/* Checks the parts by the table. The links are checked later. */
static void check_parts(char *start)
{
	for (size_t i = 0; i < COUNT(survivors); start += bytes(survivors[i++].pages)) {
		const struct part *part = &survivors[i];

		if (part->prot != GAP)
			expect_prot(part->name, start, part->pages, part->prot);
		if (is_block(part)) {
			const struct block *block = (struct block *)start;

			expect_pattern(part->name, block->payload, bytes(part->pages) - sizeof *block, i);
		}
	}
}

/* Follows the links, and returns the number of blocks. */
static size_t check_links(const struct block *block, const char *start)
{
	size_t blocks = 0;

	for (size_t i = 0; i < COUNT(survivors); start += bytes(survivors[i++].pages)) {
		if (!is_block(&survivors[i]))
			continue;
		if ((const char *)block != start || block->pages != survivors[i].pages)
			die_corrupt("block %zu: the link to it is wrong", blocks);
		block = block->next;
		blocks++;
	}
	if (block)
		die_corrupt("block %zu: the last one links to another", blocks - 1);
	return blocks;
}

int main(void)
{
	struct totals moved = add_up(survivors, COUNT(survivors));
	size_t distance = bytes(DEAD_BLOCK_PAGES), length = bytes(moved.pages);
	char *heap = reserve(DEAD_BLOCK_PAGES + moved.pages);
	char *fragmented = heap + distance;

	map_parts(fragmented, survivors, COUNT(survivors));
	struct block *root = populate(fragmented);
	protect_parts(fragmented, survivors, COUNT(survivors));

	if (mremap(fragmented, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, heap) != heap)
		die_unmoved(moved);

	check_parts(heap);
	expect_gaps_reserved(heap, survivors, COUNT(survivors));
	size_t blocks = check_links(correct_pointers(root, distance), heap);
	expect_unmapped("source of the blocks", fragmented, moved.pages);
	printf("compacting_heap: slid %zu blocks with their guards and %zu holes, %zu pages, down by %d pages\n",
	       blocks, moved.gaps, moved.pages, DEAD_BLOCK_PAGES);
	return 0;
}
